using Nibble.Formats.CompressedTensors;
using System.Runtime.InteropServices;
using Nibble.Artifacts;
using Nibble.Onnx.Graphs;

namespace Nibble.Onnx.Layers;

/// <summary>
/// Adds the nodes of embedding tables, float or quantized. Only the rows that are looked up are dequantized.
/// </summary>
internal sealed class EmbeddingNodes(GraphBuilder graph, ModelTensors tensors)
{
    /// <summary>Adds a table.</summary>
    /// <param name="indices">The indices of the rows, int64 of any shape.</param>
    /// <param name="name">The name of the table in the checkpoint.</param>
    /// <param name="rows">The number of rows.</param>
    /// <param name="columns">The number of values per row.</param>
    /// <returns>The rows, [..., columns] in float32.</returns>
    /// <exception cref="NibbleException">The tensors have other shapes, or the codes do not fit into bytes.</exception>
    public string Apply(string indices, string name, int rows, int columns)
    {
        graph.Scope = name;
        if (tensors.Layer(name, rows, columns, Read) is { } layer)
        {
            return Quantized(indices, layer);
        }

        var table = new FloatConstant(graph, tensors.Float(name + ".weight", rows, columns));
        return table.Widen(graph.Node("Gather", [table.Name, indices]));
    }

    /// <summary>Reads a quantized table back from the constants that <see cref="Apply"/> wrote.</summary>
    /// <exception cref="NibbleException">A tensor is missing, or has another type or shape.</exception>
    private static QuantizedLayer Read(OnnxFile file, ManifestLayer layer, int rows, int columns)
    {
        var weight = UnsignedWeight.Blank(file, layer, rows, columns);
        ReadOnlySpan<byte> Constant(string part, OnnxType type, int width) => file.Bytes($"{layer.Name}.weight.{part}", type, rows, width).Span;
        var groups = weight.Blocks(weight.GroupLength);
        weight.ReadBytes(Constant(UnsignedWeight.CodesName, OnnxType.UInt8, columns));
        weight.ReadBlockScales(weight.GroupLength, Constant(UnsignedWeight.ScalesName, OnnxType.Float32, groups));
        weight.ReadZeroPointsTransposed(Matrices.Transpose(Constant(UnsignedWeight.ZeroPointsName, OnnxType.UInt8, groups), rows, groups));
        return new QuantizedLayer(layer.Name, weight.Weight, Input: null);
    }

    private string Quantized(string indices, QuantizedLayer layer)
    {
        var weight = UnsignedWeight.Of(layer.Weight) ?? throw new NibbleException(
            $"{tensors.Place}: layer '{layer.Name}' has the weights '{layer.Weight.Scheme}', whose values need codes of 9 bits, but the exported graph cannot "
                + $"hold them. Quantize with at most 7 bits stretched, or 8 bits not stretched");
        if (weight.Columns is not null)
        {
            throw new NibbleException(
                $"{tensors.Place}: layer '{layer.Name}' has groups of scattered columns, which exported tables do not support. Use round to nearest");
        }

        string Rows(string kind, OnnxType type, int width, Func<byte[]> bytes) =>
            graph.Node("Gather", [graph.Initializer($"{layer.Name}.weight.{kind}", type, [weight.Outputs, width], stream => stream.Write(bytes())), indices]);
        string Widened(string value) => graph.Node("Cast", [value], ("to", (long)OnnxType.Float32));

        var groups = weight.Blocks(weight.GroupLength);
        var codes = Rows(UnsignedWeight.CodesName, OnnxType.UInt8, weight.Inputs, weight.Bytes);
        var scales = Rows(UnsignedWeight.ScalesName, OnnxType.Float32, groups, () => weight.BlockScales(weight.GroupLength));
        var zeroPoints = Rows(UnsignedWeight.ZeroPointsName, OnnxType.UInt8, groups,
            () => Matrices.Transpose<byte>(weight.ZeroPointsTransposed(), groups, weight.Outputs));
        if (groups > 1)
        {
            long[] column = [.. Enumerable.Range(0, weight.Inputs).Select(index => (long)(index / weight.GroupLength))];
            var order = graph.Initializer(
                $"{layer.Name}.weight.groups", OnnxType.Int64, [column.Length], stream => stream.Write(MemoryMarshal.AsBytes(column.AsSpan())));
            scales = graph.Node("Gather", [scales, order], ("axis", -1L));
            zeroPoints = graph.Node("Gather", [zeroPoints, order], ("axis", -1L));
        }

        return graph.Node("Mul", [graph.Node("Sub", [Widened(codes), Widened(zeroPoints)]), scales]);
    }
}
