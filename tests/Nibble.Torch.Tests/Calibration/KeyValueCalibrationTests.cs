using Nibble.Numerics;
using Nibble.Recipes;
using Nibble.Torch.Calibration;
using Nibble.Torch.Evaluation;
using Nibble.Torch.Models;
using Nibble.Torch.Tests.Shared;
using static TorchSharp.torch;

namespace Nibble.Torch.Tests.Calibration;

public sealed class KeyValueCalibrationTests : IDisposable
{
    private static readonly QuantizationScheme Scheme = new(4, symmetric: false, Granularity.Channel);

    private readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void RunCoversEachChannelOfTheKeys(bool symmetric)
    {
        using var model = new TinyLlama { Type = "qwen3" }.Open(folder);
        var block = model.Llama().Blocks[0];
        using var guard = no_grad();
        using var scope = NewDisposeScope();

        // More windows than a batch: 1024 tokens and 512.
        var x = Inputs(3, 512);
        using var stream = CacheModel.Stream(folder, x);
        var keys = block.UnrotatedKeys(new BlockInput(x));
        var scheme = new QuantizationScheme(4, symmetric, Granularity.Channel);
        var found = KeyValueCalibration.Run(block, "model.layers.0", stream, new KeyValueCacheRule(scheme, null), 700, TestContext.Current.CancellationToken)!;
        Assert.Equal(("model.layers.0.self_attn", TinyLlama.KeyValueHeads, 8), (found.Name, found.Heads, found.HeadSize));
        for (var channel = 0; channel < 16; channel++)
        {
            // Positions 0 to 511 and 188 to 699.
            float[] values = [.. Channel(block.Attention.Rotate(keys, 0), channel), .. Channel(block.Attention.Rotate(keys, 188), channel)];
            var expected = QuantizationParameters.FromRange(new ValueRange(values.Min(), values.Max()), scheme);
            Assert.Equal(expected.Scale, found.Scales[channel], 1e-4f * expected.Scale);
            Assert.Equal(expected.ZeroPoint, symmetric ? 0 : found.ZeroPoints[channel]);
        }

        static float[] Channel(Tensor keys, int channel) => Bits.Of(keys.select(1, channel / 8).select(2, channel % 8));
    }

    [Theory]
    [InlineData(512, 512, "0")]
    [InlineData(512, 100, "0")]
    [InlineData(256, 512, "0 256")]
    [InlineData(256, 600, "0 172 344")]
    [InlineData(100, 131_072, "0 8731 17462 26194 34925 43657 52388 61120 69851 78583 87314 96046 104777 113509 122240 130972")]
    public void StartsSpreadOverTheContext(int length, int context, string expected) =>
        Assert.Equal(expected, string.Join(' ', KeyValueCalibration.Starts(length, context)));

    [Fact]
    public void RunUsesTheRulesObserver()
    {
        using var model = new TinyLlama().Open(folder);
        using var scope = NewDisposeScope();
        using var stream = CacheModel.Stream(folder, Inputs(2, 64));
        float Sum(ObserverKind observer) => KeyValueCalibration
            .Run(model.Llama().Blocks[0], "b", stream, new KeyValueCacheRule(Scheme, null, observer), 64, TestContext.Current.CancellationToken)!.Scales.Sum();
        Assert.InRange(Sum(ObserverKind.Mse), 0.3f, Sum(ObserverKind.MinMax) * 0.999f);
    }

    [Fact]
    public void RunOfKeysPerTokenHasNothingToFind()
    {
        using var model = new TinyLlama().Open(folder);
        using var scope = NewDisposeScope();
        using var stream = CacheModel.Stream(folder, Inputs(1, 8));
        Assert.Null(KeyValueCalibration.Run(
            model.Llama().Blocks[0], "b", stream, RecipePresets.Parse("w16a16-kv8").KeyValueCache!, 64, TestContext.Current.CancellationToken));
    }

    [Fact]
    public void RunRefusesKeysThatOverflowAndCanBeCancelled()
    {
        using var model = LoadedModel.Open(
            new TinyLlama().Write(folder.File("huge"), tensors => Array.Fill(tensors["model.layers.0.self_attn.k_proj.weight"].Values, 3e38f)));
        using var scope = NewDisposeScope();
        using var stream = CacheModel.Stream(folder, Inputs(1, 8));
        Assert.Matches(
            @"the keys of 'b\.self_attn' hold \d+ NaN or infinite values",
            Assert.Throws<NibbleException>(() => KeyValueCalibration.Run(
                model.Llama().Blocks[0], "b", stream, new KeyValueCacheRule(Scheme, null), 8, TestContext.Current.CancellationToken)).Message);
        Assert.Throws<OperationCanceledException>(
            () => KeyValueCalibration.Run(model.Llama().Blocks[0], "b", stream, new KeyValueCacheRule(Scheme, null), 8, new CancellationToken(canceled: true)));
    }

    [Fact]
    public void RunRefusesScalesThatBinary16CannotHold()
    {
        using var model = LoadedModel.Open(
            new TinyLlama().Write(folder.File("large"), tensors => Array.Fill(tensors["model.layers.0.self_attn.k_proj.weight"].Values, 1e6f)));
        using var scope = NewDisposeScope();
        using var stream = CacheModel.Stream(folder, Inputs(1, 8));
        var rule = new KeyValueCacheRule(Scheme with { ScalePrecision = ScalePrecision.Float16 }, null);
        Assert.Contains(
            "the keys of 'b.self_attn': The scale",
            Assert.Throws<NibbleException>(
                () => KeyValueCalibration.Run(model.Llama().Blocks[0], "b", stream, rule, 8, TestContext.Current.CancellationToken)).Message,
            StringComparison.Ordinal);
    }

    private static Tensor Inputs(int windows, int length)
    {
        var random = new Random(5);
        return tensor(Enumerable.Range(0, windows * length * TinyLlama.Hidden).Select(_ => random.NextSingle() - 0.3f).ToArray(), windows, length,
            TinyLlama.Hidden);
    }
}

public sealed class KeyValueCalibrationRealModelTests
{
    [Theory]
    [InlineData("w16a16-kv8", 0.998, 1.002, 0.002)]
    [InlineData("w16a16-kv8c", 0.998, 1.002, 0.002)]
    [InlineData("w16a16-kv4", 1.5, 1.9, 0.7)]
    [InlineData("w16a16-kv4c", 1.2, 1.5, 0.45)]
    public void StoriesLosesWhatWasMeasured(string preset, double least, double most, double divergence)
    {
        using var source = Texts.Stories();
        var valid = Texts.TinyStories("valid.txt", source);
        var model = CacheModel.Make(source, RecipePresets.Parse(preset), Texts.TinyStories("train.txt", source), 16, 256);
        using var simulated = (IDecoder)LoadedModel.Simulate(model, preset);
        var result = Evaluator.Evaluate(simulated, valid, 512, 20, source.Decoder);
        Assert.InRange(result.Perplexity / 3.78845, least, most);
        Assert.InRange(result.Divergence!.Value, 1e-5, divergence);
    }
}
