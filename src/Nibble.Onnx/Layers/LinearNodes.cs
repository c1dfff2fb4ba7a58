using System.Runtime.InteropServices;
using Nibble.Artifacts;
using Nibble.Numerics;
using Nibble.Onnx.Graphs;

namespace Nibble.Onnx.Layers;

/// <summary>Adds the nodes of linear layers, <c>y = x W^T + b</c>, float or quantized.</summary>
internal sealed class LinearNodes(GraphBuilder graph, ModelTensors tensors, MatMulAccuracy accuracy = MatMulAccuracy.Float32)
{
    /// <summary>What the constant of a layer's codes is called, behind the layer's name and <c>.weight.</c>.</summary>
    public const string CodesName = "codes";

    /// <summary>What is behind a layer's name where its input's columns are put in another order.</summary>
    public const string ColumnsSuffix = ".columns";

    private const string ScalesName = "scales";
    private const string ZeroPointsName = "zero_points";

    private readonly InputNodes inputs = new(graph);
    private readonly Dictionary<string, int> forms = new(StringComparer.Ordinal);

    /// <summary>How many layers were written in each form, such as <c>MatMulNBits 4</c>.</summary>
    public IReadOnlyDictionary<string, int> Forms => forms;

    /// <summary>Adds a layer.</summary>
    /// <param name="x">Its input, [..., in].</param>
    /// <param name="name">Its name in the checkpoint.</param>
    /// <param name="outFeatures">Rows of its weight.</param>
    /// <param name="inFeatures">Columns of its weight.</param>
    /// <param name="bias">Whether it has a bias.</param>
    /// <returns>Its output, [..., out].</returns>
    /// <exception cref="NibbleException">The tensors have other shapes, or no graph expresses how they are quantized.</exception>
    public string Apply(string x, string name, int outFeatures, int inFeatures, bool bias)
    {
        graph.Scope = name;
        var y = tensors.Layer(name, outFeatures, inFeatures) is { } layer ? Quantized(x, layer) : Float(x, tensors.Float(name + ".weight", outFeatures, inFeatures));
        if (!bias)
        {
            return y;
        }

        var constant = new FloatConstant(graph, tensors.Float(name + ".bias", outFeatures));
        return graph.Node("Add", [y, constant.Widen(constant.Name)]);
    }

    private string Float(string x, SourceTensor weight)
    {
        Count("MatMul");
        var constant = FloatConstant.Transposed(graph, weight);
        return graph.Node("MatMul", [x, constant.Widen(constant.Name)]);
    }

    private string Quantized(string x, QuantizedLayer layer)
    {
        var weight = Require(layer);
        if (weight.Columns is { } columns)
        {
            x = Reorder(x, layer.Name, columns);
        }

        return layer.Input switch
        {
            { Static: null, Scheme.Symmetric: true } input when weight.HasWholeRows => IntegerProduct(x, layer, weight, input.Scheme),
            { Static: not null } input when weight.HasWholeRows => Dequantized(inputs.Values(x, input, fusible: true), layer, weight),

            // ONNX Runtime 1.31 fuses a quantized input with dequantized groups into a product of bytes that knows no groups, and then fails.
            { } input => FloatProduct(inputs.Values(x, input, fusible: weight.Block is not null), layer, weight),
            null => FloatProduct(x, layer, weight),
        };
    }

    /// <summary>The layer's codes, unless no graph computes what the layer does.</summary>
    private UnsignedWeight Require(QuantizedLayer layer)
    {
        NibbleException Refused(string reason, string advice) => new($"{tensors.Folder}: layer '{layer.Name}' {reason}, which the exported graph does not do; {advice}");
        if (layer.InputTransform != InputTransform.None)
        {
            throw Refused("turns its input by a Hadamard matrix while the model runs", "quantize without rotation");
        }

        if (layer.Input is { Static: null, Scheme.ScalePrecision: ScalePrecision.PowerOfTwo })
        {
            throw Refused("rounds the scale of each token to a power of two", "quantize activations with float32 or float16 scales, or with static ones");
        }

        return UnsignedWeight.Of(layer.Weight) ?? throw Refused($"has the weights '{layer.Weight.Scheme}', whose values need codes of 9 bits", "quantize with at most 7 bits stretched, or 8 bits that are not");
    }

    /// <summary>Products of bytes, added up as 32-bit integers. Both factors are unsigned, since products of unsigned and signed bytes saturate on some processors.</summary>
    private string IntegerProduct(string x, QuantizedLayer layer, UnsignedWeight weight, QuantizationScheme scheme)
    {
        Count("MatMulInteger");
        var (codes, scale) = inputs.Tokens(x, scheme);
        var (right, scales, zeroPoints) = Bytes(layer, weight);
        var sums = graph.Node("MatMulInteger", [codes, right, graph.Byte(InputNodes.Offset), zeroPoints]);
        return graph.Node("Mul", [graph.Node("Mul", [graph.Node("Cast", [sums], ("to", (long)OnnxType.Float32)), scale]), scales]);
    }

    private string Dequantized(string x, QuantizedLayer layer, UnsignedWeight weight)
    {
        Count("QuantizeLinear");
        var (right, scales, zeroPoints) = Bytes(layer, weight);
        return graph.Node("MatMul", [x, graph.Node("DequantizeLinear", [right, scales, zeroPoints], ("axis", 1L))]);
    }

    private string FloatProduct(string x, QuantizedLayer layer, UnsignedWeight weight) => weight.Block is { } block ? Blocks(x, layer, weight, block) : Groups(x, layer, weight);

    private string Blocks(string x, QuantizedLayer layer, UnsignedWeight weight, int block)
    {
        Count($"MatMulNBits {weight.Bits}");
        var blocks = weight.Blocks(block);
        var codes = Constant(layer, CodesName, OnnxType.UInt8, [weight.Outputs, blocks, block * weight.Bits / 8], () => weight.PackBlocks(block));
        var scales = Constant(layer, ScalesName, OnnxType.Float32, [weight.Outputs, blocks], () => weight.BlockScales(block));
        string[] zeroPoints = weight.Symmetric
            ? []
            : [Constant(layer, ZeroPointsName, OnnxType.UInt8, [weight.Outputs, ((blocks * weight.Bits) + 7) / 8], () => weight.PackZeroPoints(block))];
        return graph.MicrosoftNode(
            "MatMulNBits",
            [x, codes, scales, .. zeroPoints],
            ("K", (long)weight.Inputs),
            ("N", (long)weight.Outputs),
            ("bits", (long)weight.Bits),
            ("block_size", (long)block),
            ("accuracy_level", (long)accuracy));
    }

    private string Groups(string x, QuantizedLayer layer, UnsignedWeight weight)
    {
        Count("DequantizeLinear");
        var groups = weight.Blocks(weight.GroupLength);
        var codes = Constant(layer, CodesName, OnnxType.UInt8, [weight.Inputs, weight.Outputs], weight.BytesTransposed);
        var scales = Constant(layer, ScalesName, OnnxType.Float32, [groups, weight.Outputs], weight.ScalesTransposed);
        var zeroPoints = Constant(layer, ZeroPointsName, OnnxType.UInt8, [groups, weight.Outputs], weight.ZeroPointsTransposed);
        return graph.Node("MatMul", [x, graph.Node("DequantizeLinear", [codes, scales, zeroPoints], ("axis", 0L), ("block_size", (long)weight.GroupLength))]);
    }

    /// <summary>Codes [in, out] and a scale and zero point for each output.</summary>
    private (string Codes, string Scales, string ZeroPoints) Bytes(QuantizedLayer layer, UnsignedWeight weight) => (
        Constant(layer, CodesName, OnnxType.UInt8, [weight.Inputs, weight.Outputs], weight.BytesTransposed),
        Constant(layer, ScalesName, OnnxType.Float32, [weight.Outputs], weight.ScalesTransposed),
        Constant(layer, ZeroPointsName, OnnxType.UInt8, [weight.Outputs], weight.ZeroPointsTransposed));

    private string Reorder(string x, string name, int[] columns)
    {
        var order = graph.Initializer(name + ColumnsSuffix, OnnxType.Int64, [columns.Length], stream => stream.Write(MemoryMarshal.AsBytes(Array.ConvertAll(columns, column => (long)column).AsSpan())));
        return graph.Node("Gather", [x, order], ("axis", -1L));
    }

    private void Count(string form) => forms[form] = forms.GetValueOrDefault(form) + 1;

    private string Constant(QuantizedLayer layer, string name, OnnxType type, long[] shape, Func<byte[]> bytes) =>
        graph.Initializer($"{layer.Name}.weight.{name}", type, shape, stream => stream.Write(bytes()));
}
