using Nibble.Export;
using Nibble.Formats.CompressedTensors;
using System.Runtime.InteropServices;
using Nibble.Artifacts;
using Nibble.Numerics;
using Nibble.Onnx.Graphs;

namespace Nibble.Onnx.Layers;

/// <summary>Adds the nodes of linear layers, <c>y = x W^T + b</c>, float or quantized.</summary>
internal sealed class LinearNodes(GraphBuilder graph, ModelTensors tensors, MatMulAccuracy accuracy = MatMulAccuracy.Float32)
{
    private readonly InputNodes inputs = new(graph);
    private readonly Dictionary<string, int> forms = new(StringComparer.Ordinal);

    /// <summary>The number of layers written in each form, for example <c>MatMulNBits 4</c>.</summary>
    public IReadOnlyDictionary<string, int> Forms => forms;

    /// <summary>Adds a layer.</summary>
    /// <param name="x">Its input, [..., in].</param>
    /// <param name="name">Its name in the checkpoint.</param>
    /// <param name="outFeatures">Rows of its weight.</param>
    /// <param name="inFeatures">Columns of its weight.</param>
    /// <param name="bias">Whether it has a bias.</param>
    /// <returns>Its output, [..., out].</returns>
    /// <exception cref="NibbleException">The tensors have other shapes, or no graph expresses their quantization.</exception>
    public string Apply(string x, string name, int outFeatures, int inFeatures, bool bias)
    {
        graph.Scope = name;
        var y = tensors.Layer(name, outFeatures, inFeatures, Read) is { } layer ? Quantized(x, layer)
            : Float(x, tensors.Float(name + ".weight", outFeatures, inFeatures));
        if (!bias)
        {
            return y;
        }

        var constant = new FloatConstant(graph, tensors.Float(name + ".bias", outFeatures));
        return graph.Node("Add", [y, constant.Widen(constant.Name)]);
    }

    /// <summary>Reads a quantized layer back from the constants that <see cref="Apply"/> wrote.</summary>
    /// <exception cref="NibbleException">A tensor is missing or has another type or shape, or the nodes around them are different.</exception>
    private static QuantizedLayer Read(OnnxFile file, ManifestLayer layer, int rows, int columns)
    {
        var weight = UnsignedWeight.Blank(file, layer, rows, columns);
        string Name(string part) => $"{layer.Name}.weight.{part}";
        var input = layer.Scheme.Activations?.Scheme;
        if (input is not null && HasBytes(weight, input))
        {
            weight.ReadBytesTransposed(file.Bytes(Name(UnsignedWeight.CodesName), OnnxType.UInt8, columns, rows).Span);
            weight.ReadScalesTransposed(file.Bytes(Name(UnsignedWeight.ScalesName), OnnxType.Float32, rows).Span);
            weight.ReadZeroPointsTransposed(file.Bytes(Name(UnsignedWeight.ZeroPointsName), OnnxType.UInt8, rows).Span);
        }
        else if (weight.Block is { } block)
        {
            var blocks = weight.Blocks(block);
            weight.ReadBlocks(block, file.Bytes(Name(UnsignedWeight.CodesName), OnnxType.UInt8, rows, blocks, block * weight.Bits / 8).Span);
            weight.ReadBlockScales(block, file.Bytes(Name(UnsignedWeight.ScalesName), OnnxType.Float32, rows, blocks).Span);
            if (!weight.Symmetric)
            {
                weight.ReadZeroPoints(block, file.Bytes(Name(UnsignedWeight.ZeroPointsName), OnnxType.UInt8, rows, ((blocks * weight.Bits) + 7) / 8).Span);
            }
        }
        else
        {
            var groups = weight.Blocks(weight.GroupLength);
            weight.ReadBytesTransposed(file.Bytes(Name(UnsignedWeight.CodesName), OnnxType.UInt8, columns, rows).Span);
            weight.ReadScalesTransposed(file.Bytes(Name(UnsignedWeight.ScalesName), OnnxType.Float32, groups, rows).Span);
            weight.ReadZeroPointsTransposed(file.Bytes(Name(UnsignedWeight.ZeroPointsName), OnnxType.UInt8, groups, rows).Span);
        }

        return new QuantizedLayer(
            layer.Name, weight.Weight,
            input is null ? null : new ActivationQuantization(
            input, input.Granularity is PerToken ? null : InputNodes.ReadFixed(file, InputOf(file, layer.Name))));
    }

    /// <summary>The input of a layer's product. The product reads the layer's codes directly or through the node that dequantizes them.</summary>
    private static string InputOf(OnnxFile file, string layer)
    {
        var product = file.NodeTaking($"{layer}.weight.{UnsignedWeight.CodesName}");
        product = product is { OpType: "DequantizeLinear", Output: [var right, ..] } ? file.NodeTaking(right) : product;
        return product is { OpType: "MatMul" or "MatMulNBits", Input: [var x, ..] } ? x
            : throw file.Refused($"the codes of the layer '{layer}' go into a {product.OpType}, expected a MatMul or MatMulNBits");
    }

    /// <summary>Whether a layer's codes are bytes for a product with a byte input.</summary>
    private static bool HasBytes(UnsignedWeight weight, QuantizationScheme input) => weight.HasWholeRows && (input.Granularity is PerTensor || input.Symmetric);

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
            { Static: null } input when HasBytes(weight, input.Scheme) => IntegerProduct(x, layer, weight, input.Scheme),
            { } input when HasBytes(weight, input.Scheme) => Dequantized(inputs.Values(x, input, fusible: true), layer, weight),

            // ONNX Runtime 1.31 fuses a quantized input and dequantized groups into a product of bytes that does not support groups, and then fails.
            { } input => FloatProduct(inputs.Values(x, input, fusible: weight.Block is not null), layer, weight),
            null => FloatProduct(x, layer, weight),
        };
    }

    /// <summary>The layer's codes. Throws if no graph can compute the layer.</summary>
    private UnsignedWeight Require(QuantizedLayer layer)
    {
        NibbleException Refused(string reason, string advice) =>
            new($"{tensors.Place}: layer '{layer.Name}' {reason}, which the exported graph cannot do. {advice}");
        if (layer.InputTransform != InputTransform.None)
        {
            throw Refused("rotates its input by a Hadamard matrix at inference time", "Quantize without rotation");
        }

        if (layer.Input is { Static: null, Scheme.ScalePrecision: ScalePrecision.PowerOfTwo })
        {
            throw Refused("rounds the scale of each token to a power of two", "Quantize activations with float32 or float16 scales, or with static ones");
        }

        return UnsignedWeight.Of(layer.Weight) ?? throw Refused(
            $"has the weights '{layer.Weight.Scheme}', whose values need codes of 9 bits", "Quantize with at most 7 bits stretched, or 8 bits not stretched");
    }

    /// <summary>
    /// Products of bytes, summed as 32-bit integers. Both factors are unsigned, because products of unsigned and signed bytes saturate on some processors.
    /// </summary>
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

    private string FloatProduct(string x, QuantizedLayer layer, UnsignedWeight weight) =>
        weight.Block is { } block ? Blocks(x, layer, weight, block) : Groups(x, layer, weight);

    private string Blocks(string x, QuantizedLayer layer, UnsignedWeight weight, int block)
    {
        Count($"MatMulNBits {weight.Bits}");
        var blocks = weight.Blocks(block);
        var codes = Constant(layer, UnsignedWeight.CodesName, OnnxType.UInt8, [weight.Outputs, blocks, block * weight.Bits / 8],
            () => weight.PackBlocks(block));
        var scales = Constant(layer, UnsignedWeight.ScalesName, OnnxType.Float32, [weight.Outputs, blocks], () => weight.BlockScales(block));
        string[] zeroPoints = weight.Symmetric
            ? []
            : [Constant(layer, UnsignedWeight.ZeroPointsName, OnnxType.UInt8, [weight.Outputs, ((blocks * weight.Bits) + 7) / 8],
                () => weight.PackZeroPoints(block))];
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
        var codes = Constant(layer, UnsignedWeight.CodesName, OnnxType.UInt8, [weight.Inputs, weight.Outputs], weight.BytesTransposed);
        var scales = Constant(layer, UnsignedWeight.ScalesName, OnnxType.Float32, [groups, weight.Outputs], weight.ScalesTransposed);
        var zeroPoints = Constant(layer, UnsignedWeight.ZeroPointsName, OnnxType.UInt8, [groups, weight.Outputs], weight.ZeroPointsTransposed);
        return graph.Node("MatMul", [x, graph.Node("DequantizeLinear", [codes, scales, zeroPoints], ("axis", 0L), ("block_size", (long)weight.GroupLength))]);
    }

    /// <summary>Codes [in, out], and a scale and zero point for each output.</summary>
    private (string Codes, string Scales, string ZeroPoints) Bytes(QuantizedLayer layer, UnsignedWeight weight) => (
        Constant(layer, UnsignedWeight.CodesName, OnnxType.UInt8, [weight.Inputs, weight.Outputs], weight.BytesTransposed),
        Constant(layer, UnsignedWeight.ScalesName, OnnxType.Float32, [weight.Outputs], weight.ScalesTransposed),
        Constant(layer, UnsignedWeight.ZeroPointsName, OnnxType.UInt8, [weight.Outputs], weight.ZeroPointsTransposed));

    private string Reorder(string x, string name, int[] columns)
    {
        var order = graph.Initializer(
            UnsignedWeight.ColumnsName(name), OnnxType.Int64, [columns.Length],
            stream => stream.Write(MemoryMarshal.AsBytes(Array.ConvertAll(columns, column => (long)column).AsSpan())));
        return graph.Node("Gather", [x, order], ("axis", -1L));
    }

    private void Count(string form) => forms[form] = forms.GetValueOrDefault(form) + 1;

    private string Constant(QuantizedLayer layer, string name, OnnxType type, long[] shape, Func<byte[]> bytes) =>
        graph.Initializer($"{layer.Name}.weight.{name}", type, shape, stream => stream.Write(bytes()));
}
