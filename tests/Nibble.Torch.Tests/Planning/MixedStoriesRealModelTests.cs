using Nibble.Tests.Shared;
using Nibble.Numerics;
using Nibble.Recipes;
using Nibble.Torch.Evaluation;
using Nibble.Torch.Layers;
using Nibble.Torch.Models;
using Nibble.Torch.Ptq;
using Nibble.Torch.Tests.Shared;

namespace Nibble.Torch.Tests.Planning;

/// <summary>What the recipes that <c>nibble mix</c> wrote for stories260K lose, against one width for all layers (docs/results/mixed-precision.md).</summary>
public sealed class MixedStoriesRealModelTests : IDisposable
{
    private readonly LoadedModel source = Texts.Stories();

    public void Dispose() => source.Dispose();

    [Fact]
    public void WidthsOfThreeBitsOnAverageLoseATenthLessThanThreeBitsEverywhere()
    {
        var mixed = Mixed("3bits");
        Assert.Equal(35, Quantized(mixed).Count);
        Assert.InRange(Quantized(mixed).Sum(item => (double)item.Linear.Weight.numel() * item.Scheme.Bits) / Quantized(mixed)
            .Sum(item => item.Linear.Weight.numel()), 2.9, 3);

        var (mix, uniform) = (Loss(mixed), Loss(RecipePresets.Parse("w3a16-g32-gptaq")));
        TestContext.Current.TestOutputHelper?.WriteLine($"mixed {mix:F4}, uniform {uniform:F4} nats over float");
        Assert.InRange(mix, 0, 0.9 * uniform);
    }

    [Fact]
    public void WidthsAndGroupsInTheBytesOfThreeAndTwoAndAHalfBitsLoseAQuarterLess()
    {
        var (two, three) = (RecipePresets.Parse("w2a16-g32-gptaq"), RecipePresets.Parse("w3a16-g32-gptaq"));
        var (whole, half) = (Mixed("254064B"), Mixed("239056B"));
        Assert.InRange(Bytes(whole), 0, Bytes(three));
        Assert.InRange(Bytes(half), 0, (Bytes(two) + Bytes(three)) / 2);

        var (lossOfTwo, lossOfThree) = (Loss(two), Loss(three));
        var (lossOfWhole, lossOfHalf) = (Loss(whole), Loss(half));
        TestContext.Current.TestOutputHelper?.WriteLine(
            $"3 bits {lossOfThree:F4}, its bytes {lossOfWhole:F4}, 2 bits {lossOfTwo:F4}, the bytes between {lossOfHalf:F4} nats over float");
        Assert.InRange(lossOfWhole, 0, 0.75 * lossOfThree);
        Assert.InRange(lossOfHalf, 0, 0.75 * (lossOfTwo + lossOfThree) / 2);
    }

    private static Recipe Mixed(string budget) => RecipeFile.Load(Repository.At("benchmarks", "recipes", "mixed", $"stories260K-{budget}.yaml"));

    private List<(QuantizableLinear Linear, QuantizationScheme Scheme)> Quantized(Recipe recipe) =>
        [.. source.Llama().Linears.Where(linear => recipe.RuleFor(linear.Key) is not null)
            .Select(linear => (linear.Value, recipe.RuleFor(linear.Key)!.Weights!))];

    private long Bytes(Recipe recipe) =>
        Quantized(recipe).Sum(item => QuantizedTensor.CountStoredBytes(item.Linear.OutFeatures, item.Linear.InFeatures, item.Scheme));

    /// <summary>Nats over float on the first 20 windows.</summary>
    private double Loss(Recipe recipe)
    {
        var valid = Texts.TinyStories("valid.txt", source);
        using var model = (IDecoder)LoadedModel.Simulate(
            PostTrainingQuantizer.Run(source, recipe, Texts.TinyStories("train.txt", source), seed: 1), recipe.Name);
        return Evaluator.Evaluate(model, valid, 512, 20).Loss - Evaluator.Evaluate(source.Decoder, valid, 512, 20).Loss;
    }
}
