using Nibble.Models;
using Nibble.Planning;

namespace Nibble.Tests.Planning;

public class LossLimitsTests
{
    [Fact]
    public void LimitsOfSquaredErrorsAreSharesOfTheFloatModelS() => Assert.Equal(new LossLimits(0.004, 0.008, 0.1), LossLimits.For(ModelTask.Regression, 0.4));

    [Theory]
    [InlineData(ModelTask.LanguageModelling)]
    [InlineData(ModelTask.Classification)]
    [InlineData(ModelTask.Regression)]
    [InlineData(ModelTask.Embedding)]
    public void LimitsRise(ModelTask task)
    {
        var limits = LossLimits.For(task, 0);
        Assert.True(limits.Small > 0 && limits.WorthTraining > limits.Small && limits.Usable > limits.WorthTraining);
    }

    [Theory]
    [InlineData(null, "nats per token", true)]
    [InlineData(ModelTask.LanguageModelling, "nats per token", true)]
    [InlineData(ModelTask.Classification, "nats per text", false)]
    [InlineData(ModelTask.Regression, "squared error", false)]
    [InlineData(ModelTask.Embedding, "1 minus the cosine with the float model's vectors", false)]
    public void OnlyLanguageModelsHaveAPerplexity(ModelTask? task, string mean, bool hasPerplexity) =>
        Assert.Equal((mean, hasPerplexity), (LossUnit.Of(task).Mean, LossUnit.Of(task).HasPerplexity));
}
