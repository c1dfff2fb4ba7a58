using Nibble.Recipes;
using Nibble.Cli.Report;
using static Nibble.Cli.Tests.Report.FakeComparison;

namespace Nibble.Cli.Tests.Report;

public class AdviceTests
{
    [Fact]
    public void PtqIsEnoughWhenItLosesLittle()
    {
        var width = Single(Control(0.001), Run(Method.Ptq, 4, 0.0089), Run(Method.Qat, 4, 0.0032));

        Assert.Equal((Method.Ptq, "ptq w4a16-g32"), (width.Method, width.Run));
        Assert.Contains("perplexity 4.157, compared with 4.120 for float (+0.9%), within the 1% that counts as a small loss", width.Text);
        Assert.Contains("from 1.06 MB to 245 kB (4.3× smaller) in 0.75 s", width.Text);
        Assert.Contains("QAT takes 87× as long and reaches 4.133, within 2% of PTQ: QAT is not worth its time here.", width.Text);
    }

    [Fact]
    public void QatPaysWhenItBeatsPtqByMoreThanTrainingDoes()
    {
        var width = Single(Control(-0.012), Run(Method.Ptq, 3, 0.2127), Run(Method.Qat, 3, 0.0544));

        Assert.Equal((Method.Qat, "qat w3a16-g32"), (width.Method, width.Run));
        Assert.Contains("QAT gives perplexity 4.350, compared with 4.120 for float (+5.6%), or +6.9% relative to the float control", width.Text);
        Assert.Contains("101× as long as PTQ, which took 0.64 s for a model of the same size", width.Text);
    }

    [Theory]
    [InlineData(0.15, 10, nameof(Method.Hybrid), "better than PTQ or QAT alone")]
    [InlineData(0.21, 10, nameof(Method.Hybrid), "within 2% of QAT in at most half the time")]
    [InlineData(0.21, 60, nameof(Method.Qat), "The hybrid (hybrid w3a16-g32) gives perplexity")]
    [InlineData(0.3, 10, nameof(Method.Qat), "The hybrid (hybrid w3a16-g32) gives perplexity")]
    [InlineData(double.NaN, 10, nameof(Method.Qat), "The hybrid (hybrid w3a16-g32) gives no finite perplexity")]
    public void HybridPaysWhenItIsBetterOrAsGoodInHalfTheTime(double loss, double seconds, string method, string reason)
    {
        var width = Single(Control(0), Run(Method.Ptq, 3, 0.25), Run(Method.Qat, 3, 0.2), Run(Method.Hybrid, 3, loss) with { Seconds = seconds });

        Assert.Equal(method, width.Method?.ToString());
        Assert.Contains(reason, width.Text);
    }

    [Fact]
    public void HybridIsNotWorthItWherePtqLosesLittleAndSavesWhatBothLose()
    {
        Assert.Equal(Method.Ptq, Single(Control(0), Run(Method.Ptq, 8, 0.001), Run(Method.Qat, 8, 0), Run(Method.Hybrid, 8, -0.05)).Method);
        Assert.Equal(Method.Hybrid, Single(Control(0), Run(Method.Ptq, 2, 3), Run(Method.Qat, 2, 0.5), Run(Method.Hybrid, 2, 0.2)).Method);
        Assert.Equal(Method.Hybrid, Single(Run(Method.Hybrid, 4, 0.05)).Method);
        Assert.Null(Single(Run(Method.Hybrid, 2, 0.5)).Method);
    }

    [Fact]
    public void GainThatTheControlHasTooIsTrainingAndNotQuantization()
    {
        var width = Single(Control(-0.1), Run(Method.Ptq, 4, 0.03), Run(Method.Qat, 4, -0.06));

        Assert.Equal(Method.Ptq, width.Method);
        Assert.Contains("the float control, trained equally long without quantization, reaches 3.728: the gain comes from more training, not from better quantization.", width.Text);
    }

    [Fact]
    public void SameGainWithoutControlCountsForQat()
    {
        var advice = Advice.For(Of(Run(Method.Ptq, 4, 0.03), Run(Method.Qat, 4, -0.06)));

        Assert.Equal(Method.Qat, Assert.Single(advice.Widths).Method);
        Assert.Contains("There is no float control, so part of QAT's gain may come from more training.", advice.Summary);
    }

    [Fact]
    public void ControlThatTrainingMadeWorseDoesNotExcuseQat()
    {
        var advice = Advice.For(Of(Control(0.2), Run(Method.Ptq, 4, 0.03), Run(Method.Qat, 4, 0.05)));

        var width = Assert.Single(advice.Widths);
        Assert.Equal(Method.Ptq, width.Method);
        Assert.DoesNotContain("relative to the float control", width.Text);
        Assert.Contains("does not improve on the original (+22.1%)", advice.Summary);
    }

    [Fact]
    public void PtqWinsATie()
    {
        var width = Single(Control(0), Run(Method.Ptq, 4, 0.05), Run(Method.Qat, 4, 0.04));

        Assert.Equal(Method.Ptq, width.Method);
        Assert.Contains("QAT is not worth its time here", width.Text);
        Assert.DoesNotContain("counts as a small loss", width.Text);
    }

    [Fact]
    public void QatThatIsWorseThanPtqBlamesItsSettings()
    {
        Assert.Contains(
            "worse than PTQ: its training settings do not seem to suit this model.",
            Single(Control(0.001), Run(Method.Ptq, 4, 0.05), Run(Method.Qat, 4, 0.15)).Text);
        Assert.Contains(
            "better than PTQ, but by less than the float control gains",
            Single(Control(-0.1), Run(Method.Ptq, 4, 0.05), Run(Method.Qat, 4, 0.04)).Text);
    }

    [Fact]
    public void QatThatBeatsAGoodPtqBeyondTheControlIsOffered()
    {
        var width = Single(Control(0), Run(Method.Ptq, 8, 0.005), Run(Method.Qat, 8, -0.05));

        Assert.Equal(Method.Ptq, width.Method);
        Assert.Contains("better than PTQ by more than the extra training explains", width.Text);
    }

    [Fact]
    public void NeitherRoadWhenBothLoseTooMuch()
    {
        var width = Single(Control(0), Run(Method.Ptq, 2, 4.83), Run(Method.Qat, 2, 0.317));

        Assert.Null(width.Method);
        Assert.Null(width.Run);
        Assert.Contains("(125×)", width.Text);
        Assert.Contains("Both lose more than 25%, the limit for a usable model: use more bits or smaller groups", width.Text);
    }

    [Theory]
    [InlineData(0.005, nameof(Method.Ptq), "within the 1%")]
    [InlineData(0.1, nameof(Method.Ptq), "(+10.5%). The model goes")]
    [InlineData(0.5, null, "This is not usable: the limit is 25%")]
    public void PtqAloneSaysThatQatWasNotRun(double loss, string? method, string text)
    {
        var advice = Advice.For(Of(Run(Method.Ptq, 4, loss)));

        var width = Assert.Single(advice.Widths);
        Assert.Equal(method, width.Method?.ToString());
        Assert.Contains(text, width.Text);
        Assert.Contains("QAT was not run", width.Text);
        Assert.DoesNotContain("control", advice.Summary);
    }

    [Theory]
    [InlineData(-0.005, nameof(Method.Qat))]
    [InlineData(0.1, nameof(Method.Qat))]
    [InlineData(0.5, null)]
    public void QatAloneSaysThatPtqWasNotRun(double loss, string? method)
    {
        var width = Single(Control(-0.001), Run(Method.Qat, 4, loss));

        Assert.Equal(method, width.Method?.ToString());
        Assert.Contains("PTQ was not run", width.Text);
    }

    [Theory]
    [InlineData(double.NaN)]
    [InlineData(double.PositiveInfinity)]
    [InlineData(double.NegativeInfinity)]
    public void RunsWithoutAFiniteLossLose(double loss)
    {
        Assert.Contains("QAT gives no finite perplexity: its training diverged.", Single(Run(Method.Ptq, 4, 0.05), Run(Method.Qat, 4, loss)).Text);
        Assert.Equal(Method.Qat, Single(Run(Method.Ptq, 4, loss), Run(Method.Qat, 4, 0.05)).Method);
        Assert.Null(Single(Run(Method.Ptq, 4, loss), Run(Method.Qat, 4, loss)).Method);
    }

    [Fact]
    public void ControlWithoutAFiniteLossIsNamed()
    {
        var advice = Advice.For(Of(Control(double.NaN), Run(Method.Ptq, 4, 0.2), Run(Method.Qat, 4, 0.05)));

        Assert.Contains("gives no finite perplexity, so QAT is compared with the original model", advice.Summary);
        Assert.Equal(Method.Qat, Assert.Single(advice.Widths).Method);
    }

    [Fact]
    public void HeadlineAndSummaryCoverAllWidths()
    {
        var advice = Advice.For(Typical());

        Assert.Equal("Use post-training quantization (PTQ) at 8 bits and 4 bits, use quantization-aware training (QAT) at 3 bits, and use neither method at 2 bits.",
            advice.Headline);
        Assert.Contains("The smallest recommended variant within 1% of the float model is ptq w4a16-g32: perplexity 4.157", advice.Summary);
        Assert.Contains("The smallest usable variant, which loses at most 25%, is qat w3a16-g32", advice.Summary);
        Assert.Contains("trained for the same 300 steps without quantization, goes from perplexity 4.120 to 4.071 (-1.2%), so QAT is compared with the "
            + "control", advice.Summary);
        Assert.Contains("QAT took 101× as long as PTQ", advice.Summary);
    }

    [Fact]
    public void WidthsWithEqualWeightBitsAreToldApart()
    {
        var advice = Advice.For(Of(Run(Method.Ptq, 4, 0.001, "w4a16-g32"), Run(Method.Ptq, 4, 0.002, "w4a16-g128")));

        Assert.Equal(["w4a16-g128", "w4a16-g32"], advice.Widths.Select(width => width.Label));
    }

    [Fact]
    public void NothingToCompareIsSaid()
    {
        Assert.Contains("No quantized variant", Advice.For(Of(Control(0))).Headline);
        var broken = Typical();
        Assert.Contains("no finite perplexity", Advice.For(broken with { Baseline = broken.Baseline with { Quality = double.NaN } }).Headline);
    }

    private static WidthAdvice Single(params IReadOnlyList<ComparisonRun> runs) => Assert.Single(Advice.For(Of(runs)).Widths);
}
