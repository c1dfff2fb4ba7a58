using Nibble.Planning;

namespace Nibble.Tests.Planning;

public sealed class BudgetTests
{
    [Theory]
    [InlineData("3bits", BudgetKind.AverageBits, 3)]
    [InlineData("2.5bits", BudgetKind.AverageBits, 2.5)]
    [InlineData("200KB", BudgetKind.Bytes, 200_000)]
    [InlineData("1.5MiB", BudgetKind.Bytes, 1_572_864)]
    [InlineData("1234B", BudgetKind.Bytes, 1234)]
    [InlineData("loss=0.1", BudgetKind.Loss, 0.1)]
    public void ParseReadsEveryKind(string text, object kind, double amount)
    {
        var budget = new Budget((BudgetKind)kind, amount);
        Assert.Equal(budget, Budget.Parse(text));
        Assert.Equal(budget, Budget.Parse(budget.ToString()));
    }

    [Theory]
    [InlineData("")]
    [InlineData("3")]
    [InlineData("bits")]
    [InlineData("0bits")]
    [InlineData("-1bits")]
    [InlineData("3bytes")]
    [InlineData("loss=0.1bits")]
    [InlineData("loss=")]
    public void ParseRefusesTheRest(string text) =>
        Assert.Contains("is not a budget", Assert.Throws<NibbleException>(() => Budget.Parse(text)).Message, StringComparison.Ordinal);
}
