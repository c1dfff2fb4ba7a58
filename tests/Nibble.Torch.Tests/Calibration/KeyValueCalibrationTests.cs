using Nibble.Artifacts;
using Nibble.Numerics;
using Nibble.Recipes;
using Nibble.Torch.Calibration;
using Nibble.Torch.Evaluation;
using Nibble.Torch.Layers;
using Nibble.Torch.Models;
using Nibble.Torch.Models.Llama;
using Nibble.Torch.Tests.Shared;
using static TorchSharp.torch;

namespace Nibble.Torch.Tests.Calibration;

public sealed class KeyValueCalibrationTests : IDisposable
{
    private static readonly QuantizationScheme Channel = new(4, symmetric: false, Granularity.Channel);

    private readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Run_CoversEachChannelOfTheKeys(bool symmetric)
    {
        using var model = new TinyLlama { Type = "qwen3" }.Open(folder);
        var block = model.Model.Blocks[0];
        using var guard = no_grad();
        using var scope = NewDisposeScope();

        // More windows than a batch: 1024 tokens and 512.
        var x = Inputs(3, 512);
        using var stream = CacheModel.Stream(folder, x);
        var seen = new Recorder();
        block.Attention.KeyQuantizer = seen;
        block.forward(x);

        var scheme = new QuantizationScheme(4, symmetric, Granularity.Channel);
        var found = KeyValueCalibration.Run(block, "model.layers.0", stream, new KeyValueCacheRule(scheme, null), TestContext.Current.CancellationToken)!;
        Assert.Same(seen, block.Attention.KeyQuantizer);
        Assert.Equal(("model.layers.0.self_attn", TinyLlama.KeyValueHeads, 8), (found.Name, found.Heads, found.HeadSize));
        for (var channel = 0; channel < 16; channel++)
        {
            var values = Bits.Of(seen.Keys!.select(1, channel / 8).select(2, channel % 8));
            var expected = QuantizationParameters.FromRange(new ValueRange(values.Min(), values.Max()), scheme);
            Assert.Equal(expected.Scale, found.Scales[channel], 1e-4f * expected.Scale);
            Assert.Equal(expected.ZeroPoint, symmetric ? 0 : found.ZeroPoints[channel]);
        }
    }

    [Fact]
    public void Run_UsesTheRulesObserver()
    {
        using var model = new TinyLlama().Open(folder);
        using var scope = NewDisposeScope();
        using var stream = CacheModel.Stream(folder, Inputs(2, 64));
        float Sum(ObserverKind observer) => KeyValueCalibration.Run(model.Model.Blocks[0], "b", stream, new KeyValueCacheRule(Channel, null, observer), TestContext.Current.CancellationToken)!.Scales.Sum();
        Assert.InRange(Sum(ObserverKind.Mse), 0.3f, Sum(ObserverKind.MinMax) * 0.999f);
    }

    [Fact]
    public void Run_OfKeysPerToken_HasNothingToFind()
    {
        using var model = new TinyLlama().Open(folder);
        using var scope = NewDisposeScope();
        using var stream = CacheModel.Stream(folder, Inputs(1, 8));
        Assert.Null(KeyValueCalibration.Run(model.Model.Blocks[0], "b", stream, RecipePresets.Parse("w16a16-kv8").KeyValueCache!, TestContext.Current.CancellationToken));
    }

    [Fact]
    public void Run_RefusesKeysThatOverflow_AndLeavesTheBlockAsItWas()
    {
        using var model = new TinyLlama().Open(folder);
        using var scope = NewDisposeScope();
        var x = Inputs(1, 8);
        x[0, 2, 5] = float.NaN;
        using var stream = CacheModel.Stream(folder, x);
        Assert.Contains(
            "the keys of 'b.self_attn' hold 16 NaN or infinite values",
            Assert.Throws<NibbleException>(() => KeyValueCalibration.Run(model.Model.Blocks[0], "b", stream, new KeyValueCacheRule(Channel, null), TestContext.Current.CancellationToken)).Message,
            StringComparison.Ordinal);
        Assert.Throws<OperationCanceledException>(() => KeyValueCalibration.Run(model.Model.Blocks[0], "b", stream, new KeyValueCacheRule(Channel, null), new CancellationToken(canceled: true)));
        Assert.Null(model.Model.Blocks[0].Attention.KeyQuantizer);
    }

    [Fact]
    public void Run_RefusesScalesThatBinary16CannotHold()
    {
        using var model = LoadedModel.Open(new TinyLlama().Write(folder.File("large"), tensors => Array.Fill(tensors["model.layers.0.self_attn.k_proj.weight"].Values, 1e6f)));
        using var scope = NewDisposeScope();
        using var stream = CacheModel.Stream(folder, Inputs(1, 8));
        var rule = new KeyValueCacheRule(Channel with { ScalePrecision = ScalePrecision.Float16 }, null);
        Assert.Contains(
            "the keys of 'b.self_attn': The scale",
            Assert.Throws<NibbleException>(() => KeyValueCalibration.Run(model.Model.Blocks[0], "b", stream, rule, TestContext.Current.CancellationToken)).Message,
            StringComparison.Ordinal);
    }

    private static Tensor Inputs(int windows, int length)
    {
        var random = new Random(5);
        return tensor(Enumerable.Range(0, windows * length * TinyLlama.Hidden).Select(_ => random.NextSingle() - 0.3f).ToArray(), windows, length, TinyLlama.Hidden);
    }

    /// <summary>Keeps the keys of one call.</summary>
    private sealed class Recorder : ITensorQuantizer
    {
        public Tensor? Keys { get; private set; }

        public Tensor Apply(Tensor tensor) => Keys = tensor;
    }
}

public sealed class KeyValueCalibrationRealModelTests
{
    [Theory]
    [InlineData("w16a16-kv8", 1, 1.001)]
    [InlineData("w16a16-kv8c", 1, 1.001)]
    [InlineData("w16a16-kv4", 1.0001, 1.2)]
    [InlineData("w16a16-kv4c", 1.0001, 1.2)]
    public void Stories_LosesLittleToAQuantizedCache(string preset, double least, double most)
    {
        using var source = Texts.Stories();
        var valid = Texts.TinyStories("valid.txt", source);
        var model = CacheModel.Make(source, RecipePresets.Parse(preset), Texts.TinyStories("train.txt", source), 16, 256);
        using var simulated = LoadedModel.Simulate(model, preset);
        var result = Evaluator.Evaluate(simulated, valid, 512, 20, source.Model);
        TestContext.Current.SendDiagnosticMessage($"{preset} {result.Perplexity} {result.Divergence}");
        Assert.InRange(result.Perplexity / 3.788, least - 0.001, most);
    }
}
