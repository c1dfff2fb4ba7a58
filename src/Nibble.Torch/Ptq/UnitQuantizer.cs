using Nibble.Algorithms.RoundToNearest;
using Nibble.Artifacts;
using Nibble.Numerics;
using Nibble.Recipes;
using Nibble.Torch.Calibration;
using Nibble.Torch.Layers;
using Nibble.Torch.Models;
using static TorchSharp.torch;

namespace Nibble.Torch.Ptq;

/// <summary>Quantizes one unit in memory: scales channels, finds activation ranges, rounds stage by stage, learns, corrects.</summary>
/// <param name="recipe">What to do with each layer.</param>
/// <param name="device">Where tensors are.</param>
/// <param name="finished">Told the name of each layer that is done.</param>
/// <param name="cancellation">Stops between layers and batches.</param>
internal sealed class UnitQuantizer(Recipe recipe, Device device, Action finished, CancellationToken cancellation)
{
    /// <summary>Quantizes a unit; afterwards it computes what the quantized unit computes.</summary>
    /// <param name="unit">The float unit, changed in place.</param>
    /// <param name="inputs">What goes into the unit; null when the recipe looks at no activations.</param>
    /// <returns>The quantized layers, in the unit's order.</returns>
    public IReadOnlyList<QuantizedLayer> Quantize(QuantizationUnit unit, ActivationStream? inputs)
    {
        var ranges = FindActivationRanges(unit, inputs);
        var layers = new List<QuantizedLayer>();
        foreach (var stage in unit.Stages)
        {
            foreach (var (name, linear) in stage.Linears)
            {
                if (recipe.RuleFor(name) is not { } rule)
                {
                    continue;
                }

                cancellation.ThrowIfCancellationRequested();
                var weight = Round(name, linear, rule);
                var layer = new QuantizedLayer(name, weight, ranges.GetValueOrDefault(name));
                linear.InputQuantizer = InputQuantizers.Create(layer.Input);
                Conversion.CopyInto(linear.Weight, weight.Dequantize());
                layers.Add(layer);
                finished();
            }
        }

        return layers;
    }

    private IReadOnlyDictionary<string, ActivationQuantization> FindActivationRanges(QuantizationUnit unit, ActivationStream? inputs) =>
        ActivationCalibration.Observe(unit.Linears, recipe, () => inputs!.ForEach(device, (_, x) => unit.Forward(x), cancellation));

    private static QuantizedTensor Round(string name, QuantizableLinear linear, RecipeRule rule)
    {
        try
        {
            return RoundToNearest.Quantize(Conversion.ValuesOf(linear.Weight), linear.OutFeatures, linear.InFeatures, rule.Weights!, rule.Range);
        }
        catch (NibbleException exception)
        {
            throw new NibbleException($"{name}: {exception.Message}", exception);
        }
    }
}
