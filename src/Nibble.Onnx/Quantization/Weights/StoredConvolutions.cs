using Nibble.Numerics;
using Nibble.Onnx.Graphs;
using Nibble.Recipes;

namespace Nibble.Onnx.Quantization.Weights;

/// <summary>Stores the weights of convolutions in bytes, which makes the file smaller. Sessions compute with float weights.</summary>
/// <remarks>
/// A Cast and a Mul of constants, because ONNX Runtime folds these when it loads the file. It would not fold a DequantizeLinear, and would run it each time.
/// </remarks>
/// <param name="graph">The graph.</param>
internal sealed class StoredConvolutions(OnnxGraph graph)
{
    /// <summary>The number of values below which a weight stays float.</summary>
    public const int SmallestCount = 1024;

    private static readonly QuantizationScheme Scheme = new(8, symmetric: true, Granularity.Channel);

    private readonly Dictionary<string, string> stored = new(StringComparer.Ordinal);

    /// <summary>Stores the weight of a convolution in bytes, with a scale for each index of its first axis.</summary>
    /// <param name="node">A Conv or ConvTranspose.</param>
    /// <returns>Whether its weight is now in bytes.</returns>
    public bool Apply(NodeProto node)
    {
        ArgumentNullException.ThrowIfNull(node);
        var name = node.Input[1];
        if (!stored.TryGetValue(name, out var value))
        {
            if (graph.Constant(name) is not { } weight || weight.Element() != OnnxType.Float32 || weight.Dims.Count < 2 || weight.Count() < SmallestCount
                || weight.Floats() is var values && values.Any(number => !float.IsFinite(number)))
            {
                return false;
            }

            value = Store(weight, values);
            stored.Add(name, value);
        }

        graph.Replace(node, node.Domain, node.OpType, [.. node.Input.Select((input, index) => index == 1 ? value : input)], [.. node.Attribute]);
        return true;
    }

    private string Store(TensorProto weight, float[] values)
    {
        var rows = (int)weight.Dims[0];
        var codes = Quantize.Matrix(values, rows, values.Length / rows, Scheme, new MatrixOptions { Range = WeightRange.Mse });
        var bytes = graph.AddConstant(TensorValues.Make(weight.Name + ".codes", weight.Dims, (ReadOnlySpan<sbyte>)codes.Codes));
        var scales = graph.AddConstant(TensorValues.Make(
            weight.Name + ".scales", weight.Dims.Select((size, axis) => axis == 0 ? size : 1), (ReadOnlySpan<float>)codes.Scales));
        var widened = graph.AddNode(string.Empty, "Cast", weight.Name + "/float", [bytes], NodeAttributes.Make("to", (long)OnnxType.Float32));
        return graph.AddNode(string.Empty, "Mul", weight.Name + "/scaled", [widened, scales]);
    }
}
