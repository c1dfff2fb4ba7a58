using Nibble.Recipes;
using Nibble.Torch.Layers;
using Nibble.Torch.Qat;
using static TorchSharp.torch;

namespace Nibble.Torch.Tests.Qat;

public class PreparedModelTests
{
    private const int Steps = 100;

    private static readonly int[] Gradually = [1, 22, 42, 62, 100];

    private static readonly int[] Widths = [1, 26, 51];

    [Fact]
    public void ScheduleDelaysWeightsAndActivations()
    {
        var (model, layers) = Prepare("w4a8-g8-static", new QatSchedule { FloatShare = 0.2, ActivationDelay = 0.5 });
        Assert.Equal((false, false), At(20));
        Assert.Equal((true, false), At(21));
        Assert.Equal((true, false), At(50));
        Assert.Equal((true, true), At(51));

        (bool Weight, bool Input) At(int step)
        {
            model.BeginStep(step, Steps);
            return (layers[0].WeightQuantizer is not null, layers[0].InputQuantizer is not null);
        }
    }

    [Fact]
    public void ScheduleQuantizesOneLayerAfterAnother()
    {
        var (model, layers) = Prepare("w4a16-g8", new QatSchedule { Gradual = 0.8 });
        int[] counts = [.. Gradually.Select(step =>
        {
            model.BeginStep(step, Steps);
            return layers.Count(layer => layer.WeightQuantizer is not null);
        })];
        Assert.Equal([1, 2, 3, 4, 4], counts);
    }

    [Theory]
    [InlineData("w2a16-g8", 8, new[] { 256, 16, 4 })]
    [InlineData("w3a16-g8", 8, new[] { 256, 16, 8 })]
    [InlineData("wta16-g8", 4, new[] { 16, 4, 3 })]
    [InlineData("w4a16-g8", 0, new[] { 16, 16, 16 })]
    public void ScheduleHalvesTheWidths(string preset, int from, int[] levels)
    {
        using var scope = NewDisposeScope();
        var (model, layers) = Prepare(preset, new QatSchedule { AnnealFrom = from, AnnealingShare = 0.5 });
        var seen = Widths.Select(step =>
        {
            model.BeginStep(step, Steps);
            return layers[0].WeightQuantizer!.Apply(linspace(-1, 1, 8 * 512).view(8, 512).index_select(1, arange(0, 512, 64))).unique().output.numel();
        }).ToList();
        Assert.All(seen.Zip(levels), pair => Assert.True(pair.First <= 8 * pair.Second, $"{pair.First} values at {pair.Second} levels"));
        Assert.True(seen[0] >= seen[1] && seen[1] >= seen[2]);
        Assert.True(from == 0 || seen[0] > seen[2]);
    }

    [Fact]
    public void CompleteSwitchesEverythingOn()
    {
        var (model, layers) = Prepare("w2a8-g8-static", new QatSchedule { FloatShare = 1, ActivationDelay = 1, AnnealFrom = 8, Gradual = 1 });
        model.BeginStep(1, Steps);
        Assert.All(layers, layer => Assert.Null(layer.WeightQuantizer));
        model.Complete();
        Assert.All(layers, layer => Assert.True(layer is { WeightQuantizer: not null, InputQuantizer: not null }));
        using var scope = NewDisposeScope();
        foreach (var layer in layers)
        {
            layer.forward(rand(2, 8));
        }

        Assert.All(model.ConvertLayers(), layer => Assert.Equal(2, layer.Weight.Scheme.Bits));
    }

    private static (PreparedModel Model, IReadOnlyList<QuantizableLinear> Layers) Prepare(string preset, QatSchedule schedule)
    {
        var layers = Enumerable.Range(0, 4).Select(_ => new QuantizableLinear(8, 8, bias: false)).ToList();
        foreach (var layer in layers)
        {
            using var guard = no_grad();
            layer.Weight.copy_(linspace(-1, 1, 64).view(8, 8));
        }

        var module = nn.Sequential(layers.Select((layer, i) => ($"layer{i}", (nn.Module<Tensor, Tensor>)layer)));
        var candidates = layers.Select((layer, i) => KeyValuePair.Create($"layer{i}", (IQuantizableLayer)layer));
        return (new PreparedModel(module, candidates, RecipePresets.Parse(preset), new QatSettings { Schedule = schedule }, new PrepareOptions()), layers);
    }
}
