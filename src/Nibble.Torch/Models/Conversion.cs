using Nibble.Files;
using System.Globalization;
using Nibble.Artifacts;
using Nibble.Recipes;
using Nibble.Torch.Native;
using static TorchSharp.torch;

namespace Nibble.Torch.Models;

/// <summary>Builds the result of both methods, PTQ and QAT, from a model in memory.</summary>
internal static class Conversion
{
    /// <summary>Joins the quantized layers with the tensors that stay float, which are rounded to their type in the checkpoint.</summary>
    public static QuantizedModel Assemble(
        LoadedModel source, IReadOnlyList<QuantizedLayer> layers, Recipe recipe, string method, long seed, IReadOnlyDictionary<string, double> metrics)
    {
        var quantized = layers.Select(layer => layer.Name + ".weight").ToHashSet();
        var floats = source.Model.Parameters()
            .Where(item => !quantized.Contains(item.Name))
            .Select(item => Stored(item.Name, item.Value, source.StoredAs[item.Name]))
            .ToList();
        var provenance = new Provenance(Provenance.ThisVersion, method, seed, source.Hashes, metrics);
        return new QuantizedModel(source.ConfigJson, layers, floats, recipe, provenance, source.Folder);
    }

    /// <summary>A tensor's values rounded to an element type on disk, in float32.</summary>
    public static Tensor RoundTo(Tensor tensor, ElementType type)
    {
        using var guard = no_grad();
        return type switch
        {
            ElementType.F16 => tensor.to(float16).to(float32),
            ElementType.BF16 => tensor.to(bfloat16).to(float32),
            _ => tensor.detach(),
        };
    }

    /// <summary>Overwrites a parameter with values in row-major order.</summary>
    public static void CopyInto(Tensor parameter, float[] values)
    {
        using var guard = no_grad();
        using var scope = NewDisposeScope();
        parameter.copy_(tensor(values).view(parameter.shape));
    }

    /// <summary>A tensor's values in row-major order.</summary>
    /// <remarks>
    /// The tensor's owner or a dispose scope must hold it. Otherwise it may be finalized while libtorch still reads it. For this reason, all code here that
    /// chains operators runs inside a scope.
    /// </remarks>
    public static float[] ValuesOf(Tensor tensor)
    {
        using var scope = NewDisposeScope();
        var held = tensor.detach().cpu().contiguous();
        return TensorMemory.Floats(held).ToArray();
    }

    /// <summary>A tensor as it is stored.</summary>
    /// <exception cref="NibbleException">A value is NaN or infinite, or becomes infinite when stored.</exception>
    public static FloatTensor Stored(string name, Tensor tensor, ElementType type)
    {
        using var scope = NewDisposeScope();
        var values = ValuesOf(RoundTo(tensor, type));
        return FiniteValues.IndexOfFault(values) is >= 0 and var fault
            ? throw new NibbleException(string.Create(
                CultureInfo.InvariantCulture,
                $"tensor '{name}' holds {ValuesOf(tensor)[fault]} (value {fault}), which {type} stores as {values[fault]}, expected a finite value. "
                    + $"Training or calibration diverged"))
            : new FloatTensor(name, [.. tensor.shape.Select(size => (int)size)], values, type);
    }
}
