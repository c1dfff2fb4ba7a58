using Nibble.Cli.Report;
using Nibble.Recipes;
using static Nibble.Cli.Tests.Report.FakeComparison;

namespace Nibble.Cli.Tests.Report;

public class AnswersTests
{
    [Fact]
    public void TheyNameTheLossAtEachWidthTheCostOfEachMethodAndTheChoice()
    {
        var answers = Advice.For(Of(
            Control(0), Run(Method.Ptq, 4, 0.0089), Run(Method.Qat, 4, 0.0032), Run(Method.Ptq, 2, 1.0), Run(Method.Qat, 2, 0.1) with { Seconds = 90 })).Answers;

        Assert.Equal(["What is lost?", "What does it cost?", "What to choose?"], answers.Select(answer => answer.Question));
        Assert.Equal("Change of perplexity, 4.120 in float. 4 bits: PTQ +0.9%, QAT +0.3%; 2 bits: PTQ 2.7×, QAT +10.5%.", answers[0].Text);
        Assert.Matches(@"^Time for each width: PTQ 0\.53 s to 0\.75 s, QAT 65\.\d s to 90\.0 s\. Size: 1\.06 MB in float, then 245 kB", answers[1].Text);
        Assert.Equal(
            "Use post-training quantization (PTQ) at 4 bits, and use quantization-aware training (QAT) at 2 bits. At 2 bits, QAT removes 90.0% of PTQ's loss.",
            answers[2].Text);
    }

    [Fact]
    public void DivergedRunsHaveNoChangeAndNoShare()
    {
        var answers = Advice.For(Of(Control(0), Run(Method.Ptq, 2, double.NaN), Run(Method.Qat, 2, 0.1))).Answers;

        Assert.Contains("2 bits: PTQ no finite perplexity, QAT +10.5%", answers[0].Text, StringComparison.Ordinal);
        Assert.DoesNotContain("removes", answers[2].Text, StringComparison.Ordinal);
    }

    [Fact]
    public void NothingMeasuredGivesNoAnswers() => Assert.Empty(Advice.For(Of(Control(0))).Answers);
}
