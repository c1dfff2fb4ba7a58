using Nibble.Recipes;
using Nibble.Torch.Data;
using Nibble.Torch.Evaluation;
using Nibble.Torch.Models;
using Nibble.Torch.Ptq;
using Nibble.Torch.Tests.Shared;

namespace Nibble.Torch.Tests.Ptq;

/// <summary>The float model of stories260K with its texts, read once.</summary>
public sealed class Stories : IDisposable
{
    private readonly Dictionary<string, double> perplexities = new(StringComparer.Ordinal);
    private readonly Lazy<(LoadedModel Model, TokenizedText Train, TokenizedText Valid)> data = new(() =>
    {
        var model = Texts.Stories();
        return (model, Texts.TinyStories("train.txt", model), Texts.TinyStories("valid.txt", model));
    });

    public void Dispose()
    {
        if (data.IsValueCreated)
        {
            data.Value.Model.Dispose();
        }
    }

    /// <summary>Perplexity over 20 windows of 512 tokens of what a preset makes, calibrated on 64 windows of 256 tokens.</summary>
    internal double Perplexity(string preset)
    {
        if (!perplexities.TryGetValue(preset, out var perplexity))
        {
            var (source, train, valid) = data.Value;
            var recipe = RecipePresets.Parse(preset);
            Assert.Equal((64, 256), (recipe.Ptq.Windows, recipe.Ptq.SequenceLength));
            using var simulated = (IDecoder)LoadedModel.Simulate(PostTrainingQuantizer.Run(source, recipe, train, seed: 1), preset);
            perplexity = Evaluator.Evaluate(simulated, valid, 512, 20).Perplexity;
            perplexities.Add(preset, perplexity);
        }

        TestContext.Current.TestOutputHelper?.WriteLine($"{preset}: {perplexity:F4}");
        return perplexity;
    }
}

/// <summary>The perplexities that post-training quantization must not exceed; the float model has 3.788.</summary>
public sealed class QuantizedStoriesRealModelTests(Stories stories) : IClassFixture<Stories>
{
    [Theory]
    [InlineData("w4a16-g32-gptq", 4.00)]
    [InlineData("w3a16-g32-gptq", 5.60)]
    [InlineData("w4a16-g32-gptaq", 3.98)]
    [InlineData("w3a16-g32-gptaq", 5.4)]
    [InlineData("w2a16-g32-gptaq", 16)]
    [InlineData("w8a8-smoothquant", 3.788 * 1.005)]
    public void PerplexityStaysWithinItsBound(string preset, double bound) => Assert.InRange(stories.Perplexity(preset), 3.7, bound);

    [Theory]
    [InlineData("w4a16-g32", "awq")]
    [InlineData("w4a16-g32", "hqq")]
    [InlineData("w4a16-g32", "importance")]
    [InlineData("w3a16-g32", "awq")]
    [InlineData("w3a16-g32", "hqq")]
    [InlineData("w3a16-g32", "importance")]
    [InlineData("w4a8-g32", "rotated")]
    [InlineData("w4a4-g32", "rotated")]
    public void AlgorithmBeatsRoundToNearest(string preset, string algorithm) =>
        Assert.InRange(stories.Perplexity($"{preset}-{algorithm}"), 3.7, stories.Perplexity(preset) - 0.01);

    [Fact]
    public void RotationHelpsGptqTooWhereActivationsHave4Bits() =>
        Assert.InRange(stories.Perplexity("w4a4-g32-rotated-gptq"), 3.7, stories.Perplexity("w4a4-g32-gptq") - 0.01);
}
