using Nibble.Torch.Modules;
using Nibble.Formats.CompressedTensors;
using Nibble.Algorithms;
using Nibble.Numerics;
using Nibble.Recipes;
using Nibble.Torch.Qat;
using Nibble.Torch.Tests.Shared;
using static TorchSharp.torch;

namespace Nibble.Torch.Tests.Modules;

public sealed class ModuleQuantizerTests : IDisposable
{
    private static readonly QuantizationScheme Int8 = new(8, symmetric: false, Granularity.Tensor);

    private readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    [Theory]
    [InlineData(WeightRange.MinMax, ObserverKind.MinMax)]
    [InlineData(WeightRange.Mse, ObserverKind.Percentile)]
    public void RunYieldsWhatTheModuleThenComputes(WeightRange range, ObserverKind observer)
    {
        manual_seed(1);
        using var module = new SmallCnn();
        using var input = randn(4, 2, 8, 8);
        module.eval();
        using var exact = module.forward(input);
        var rule = new RecipeRule("*", new QuantizationScheme(8, symmetric: true, Granularity.Channel), new ActivationRule(Int8, observer), range);
        var model = ModuleQuantizer.Run(module, new Recipe("w8a8", [rule]), [randn(4, 2, 8, 8), randn(4, 2, 8, 8)], seed: 7);
        QuantizedModelFile.Save(model, folder.File("artifact"));

        using var fresh = new SmallCnn();
        fresh.eval();
        QuantizationAware.Load(fresh, QuantizedModelFile.Load(folder.File("artifact")));
        using var expected = module.forward(input);
        using var actual = fresh.forward(input);
        Bits.Equal(Bits.Of(expected), actual);
        Assert.Equal("ptq", model.Provenance.Method);
        Assert.True((exact - actual).abs().max().item<float>() < 0.05 * exact.abs().max().item<float>());
    }

    [Fact]
    public void RunRoundsWeightsWithTheRangeOfTheirRule()
    {
        manual_seed(2);
        using var module = nn.Sequential(("fc", nn.Linear(16, 4)));
        var values = Bits.Of(module.state_dict()["fc.weight"]);
        var scheme = new QuantizationScheme(3, symmetric: true, Granularity.Channel);
        foreach (var range in (WeightRange[])[WeightRange.MinMax, WeightRange.Mse])
        {
            using var again = nn.Sequential(("fc", nn.Linear(16, 4)));
            again.load_state_dict(module.state_dict());
            var model = ModuleQuantizer.Run(again, new Recipe("w3", [new RecipeRule("*", scheme, null, range)]), [], seed: 1);
            Assert.Equal(RoundToNearest.Quantize(values, 4, 16, scheme, range).Codes, model.Layers[0].Weight.Codes);
        }
    }

    [Fact]
    public void RunRefusesWhatItCannotDo()
    {
        using var module = nn.Sequential(("fc", nn.Linear(4, 4)));
        var gptq = RecipePresets.Parse("w4a16-g32-gptq");
        Assert.Contains("can only be rounded to nearest", Assert.Throws<NibbleException>(() => ModuleQuantizer.Run(module, gptq, [], 1)).Message,
            StringComparison.Ordinal);
        var statically = new Recipe("static", [new RecipeRule("*", new QuantizationScheme(8, true, Granularity.Channel), new ActivationRule(Int8))]);
        Assert.Contains("input of layer 'fc' received no data", Assert.Throws<NibbleException>(() => ModuleQuantizer.Run(module, statically, [], 1)).Message,
            StringComparison.Ordinal);
    }

    [Fact]
    public void CalibrateLeavesModesAndQuantizersAsTheyWere()
    {
        using var module = new SmallCnn();
        module.train();
        Child(module, "features").eval();
        var prepared = QuantizationAware.Prepare(
            module, new Recipe("w8a8", [new RecipeRule("*", new QuantizationScheme(8, true, Granularity.Channel), new ActivationRule(Int8))]));
        var before = Bits.Of(module.state_dict()["bn1.running_mean"]);
        prepared.Calibrate([randn(2, 2, 8, 8)]);
        Assert.True(Child(module, "downsample").training);
        Assert.False(Child(module, "features.inner").training);
        Assert.All(prepared.Prepared, layer => Assert.Same(layer.Input, layer.Layer.InputQuantizer));
        Assert.All(prepared.Prepared, layer => Assert.Same(layer.Weight, layer.Layer.WeightQuantizer));
        Bits.Equal(before, module.state_dict()["bn1.running_mean"]);
    }

    private static nn.Module Child(nn.Module module, string name) => module.named_modules().Single(item => item.name == name).module;
}
