using Nibble.Models;
using Nibble.Cli.Report;
using Nibble.Planning;
using Nibble.Recipes;
using Nibble.Torch.Planning;

namespace Nibble.Cli.Tests.Report;

public class AdviceTextTests
{
    [Theory]
    [InlineData(4, 0.005, 0.004, Evidence.Extrapolated, "PTQ is enough: w4a16-g32.")]
    [InlineData(4, 0.03, 0.025, Evidence.Extrapolated, "Use PTQ with w4a16-g32: training would gain too little.")]
    [InlineData(4, 0.03, 0.025, Evidence.Typical, "Use PTQ with w4a16-g32 for now: there was no time to try training (increase --probe-minutes).")]
    [InlineData(3, 0.2, 0.05, Evidence.Measured, "Train: Qat.")]
    [InlineData(2, 0.9, 0.5, Evidence.Measured, "Not usable at 2 bits, even with training: Qat loses least.")]
    [InlineData(2, 0.9, 0.89, Evidence.Measured, "Not usable at 2 bits: Ptq loses least without training, which would gain too little.")]
    [InlineData(2, 0.9, null, Evidence.Measured, "Not usable at 2 bits without training: Ptq loses least.")]
    public void TheHeadlineSaysWhatToDo(int bits, double ptq, double? qat, object evidence, string headline)
    {
        List<PlannedOption> options = [Option(Method.Ptq, bits, ptq)];
        if (qat is { } loss)
        {
            options.Add(Option(Method.Qat, bits, loss) with { Evidence = (Evidence)evidence });
        }

        Assert.Equal(headline, AdviceText.Headline(Result(options)));
    }

    [Fact]
    public void AWidthThatNeedsTrainingIsCalledSo() =>
        Assert.EndsWith(
            "Not usable at 2 bits without training: PTQ has +0.9000 nats (2.5×; +0.9000 to +0.9000).",
            About(Option(Method.Ptq, 2, 0.9), Option(Method.Qat, 2, 0.1)),
            StringComparison.Ordinal);

    [Fact]
    public void TrainingThatWouldLoseWinsNothing() =>
        Assert.Equal("4 bits: training (Qat) would gain nothing over Ptq.", About(Option(Method.Ptq, 4, 0.03), Option(Method.Qat, 4, 0.1)));

    [Fact]
    public void AWidthThatAnotherBeatsByMoreTrainingAloneDoesNotLoseLeast()
    {
        var result = Result([Option(Method.Ptq, 8, 0.3), Option(Method.Qat, 4, 0.28) with { Quantization = Estimate.Around(0.35, 0) }]);

        Assert.Equal("Not usable at 8 bits without training: Ptq loses least of the options worth their time.", AdviceText.Headline(result));
    }

    [Fact]
    public void TheMostSensitiveLayersAreNamed()
    {
        var result = Result([Option(Method.Ptq, 4, 0.005)], ("a", 0.1), ("b", 0.5), ("c", 0.2), ("d", 0.2));

        Assert.Contains(
            "Most sensitive layers at 4 bits: b, c, d. They cause 90.0% of the divergence of all 4 layers, quantized one at a time. Use nibble mix to give them more bits.",
            AdviceText.Sentences(result, new AdviceRequest("model", 1000, "text", "text", new Constraints(), 1, "nibble")));
    }

    private static string About(params PlannedOption[] options)
    {
        var result = Result([.. options]);
        return AdviceText.About(result.Decision.Widths[0], result);
    }

    private static AdvisorResult Result(List<PlannedOption> options, params (string Layer, double Divergence)[] sensitivity) => new(
        ModelShape.Known[0], 1.5, 4, 1000, null, options, Decision.Of(options, new Constraints(), 0.01), [],
        [.. sensitivity.Select(item => new LayerDistance(item.Layer, options[0].Recipe.Name, new Distance(0, 0, item.Divergence, 0)))], 1, new Hardware(1, 1),
        1);

    private static PlannedOption Option(Method method, int bits, double loss) => new()
    {
        Name = method.ToString(),
        Method = method,
        Recipe = RecipePresets.Parse($"w{bits}a16-g32"),
        Bits = bits,
        Loss = Estimate.Around(loss, 0),
        Quantization = Estimate.Around(loss, 0),
        Evidence = Evidence.Measured,
        Seconds = 1,
        PeakBytes = 1,
        Bytes = 1,
        Tokens = 0,
        NeedsData = true,
        Command = "nibble",
    };
}
