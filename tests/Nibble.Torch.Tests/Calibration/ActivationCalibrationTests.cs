using Nibble.Numerics;
using Nibble.Recipes;
using Nibble.Torch.Calibration;
using Nibble.Torch.Tests.Shared;
using static TorchSharp.torch;

namespace Nibble.Torch.Tests.Calibration;

public sealed class ActivationCalibrationTests : IDisposable
{
    private const string First = "model.layers.0.self_attn.q_proj";

    private readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    [Fact]
    public void RunCoversWhatALayerSeesInTheWindowsAskedFor()
    {
        var tiny = new TinyLlama();
        using var model = tiny.Open(folder);
        var text = Texts.Random(50);
        var told = new Told();
        var inputs = ActivationCalibration.Run(model.Model, RecipePresets.Parse("w8a8-static"), text, new CalibrationOptions(2, 10), progress: told);

        // The first layer sees the normalised embeddings of the tokens 0 to 9 and 10 to 19.
        var tensors = tiny.Tensors();
        var (embedding, norm) = (tensors["model.embed_tokens.weight"].Values, tensors["model.layers.0.input_layernorm.weight"].Values);
        var seen = text.Window(0, 10).Concat(text.Window(10, 10)).SelectMany(token =>
        {
            var row = embedding.AsSpan((int)token * TinyLlama.Hidden, TinyLlama.Hidden).ToArray();
            var root = Math.Sqrt(row.Average(value => (double)value * value) + 1e-5);
            return row.Select((value, i) => value / root * norm[i]);
        }).ToArray();
        var scheme = new QuantizationScheme(8, symmetric: false, Granularity.Tensor);
        var expected = QuantizationParameters.FromRange(new ValueRange((float)seen.Min(), (float)seen.Max()), scheme);

        Assert.Equal(scheme, inputs[First].Scheme);
        Assert.Equal(expected.Scale, inputs[First].Static!.Value.Scale, expected.Scale * 1e-5f);
        Assert.Equal(expected.ZeroPoint, inputs[First].Static!.Value.ZeroPoint);
        Assert.Equal(model.Llama().Linears.Select(linear => linear.Key).Where(name => name != "lm_head").Order(StringComparer.Ordinal),
            inputs.Keys.Order(StringComparer.Ordinal));
        Assert.All(model.Llama().Linears, linear => Assert.Null(linear.Value.InputQuantizer));
        Assert.Equal([new RunProgress("calibrate", 1, 2), new RunProgress("calibrate", 2, 2)], told.All);
    }

    [Fact]
    public void RunOfDynamicActivationsNeedsNoText()
    {
        using var model = new TinyLlama().Open(folder);
        var inputs = ActivationCalibration.Run(model.Model, RecipePresets.Parse("w8a8"), null, new CalibrationOptions());
        Assert.Equal(7 * TinyLlama.Layers, inputs.Count);
        Assert.All(inputs.Values, input => Assert.Null(input.Static));
        Assert.Empty(ActivationCalibration.Run(model.Model, RecipePresets.Parse("w8a16-g32"), null, new CalibrationOptions()));
    }

    [Fact]
    public void RunOfStaticActivationsRefusesToGoWithoutEnoughText()
    {
        using var model = new TinyLlama().Open(folder);
        var recipe = RecipePresets.Parse("w8a8-static");
        Assert.Contains("so it needs calibration data", Refusal(() => ActivationCalibration.Run(model.Model, recipe, null, new CalibrationOptions())),
            StringComparison.Ordinal);
        Assert.Contains("expected at least one window of 10",
            Refusal(() => ActivationCalibration.Run(model.Model, recipe, Texts.Random(9), new CalibrationOptions(1, 10))), StringComparison.Ordinal);
        Assert.All(model.Llama().Linears, linear => Assert.Null(linear.Value.InputQuantizer));

        static string Refusal(Func<object> run) => Assert.ThrowsAny<NibbleException>(run).Message;
    }

    [Fact]
    public void RunRefusesAModelThatOverflows()
    {
        using var model = new TinyLlama().Open(folder);
        using (no_grad())
        {
            model.Llama().Blocks[1].InputNorm!.Weight[3] = float.NaN;
        }

        var message = Assert.Throws<NibbleException>(
            () => ActivationCalibration.Run(model.Model, RecipePresets.Parse("w8a8-static"), Texts.Random(50), new CalibrationOptions(2, 10))).Message;
        Assert.Contains("the input of layer 'model.layers.1.self_attn.q_proj' holds 20 NaN or infinite values", message, StringComparison.Ordinal);
    }

    [Fact]
    public void RunCanBeCancelledAndLeavesTheModelAsItWas()
    {
        using var model = new TinyLlama().Open(folder);
        using var cancellation = new CancellationTokenSource();
        var told = new Told(progress => cancellation.Cancel());
        Assert.Throws<OperationCanceledException>(
            () => ActivationCalibration.Run(
            model.Model, RecipePresets.Parse("w8a8-static"), Texts.Random(50), new CalibrationOptions(5, 10), progress: told,
            cancellation: cancellation.Token));
        Assert.Single(told.All);
        Assert.All(model.Llama().Linears, linear => Assert.Null(linear.Value.InputQuantizer));
    }

    [Fact]
    public void OptionsStayWithinTheModelsContext()
    {
        Assert.Equal(new CalibrationOptions(32, 64), CalibrationOptions.For(new TinyLlama().Config));
        Assert.Equal(new CalibrationOptions(32, 256), CalibrationOptions.For(new TinyLlama { MaxPositions = 512 }.Config));
    }
}
