using System.Globalization;
using Nibble.Onnx.Graphs;
using Nibble.Onnx.Preparation;

namespace Nibble.Onnx.Quantization;

/// <summary>How a file is quantized. As <see cref="OnnxFile"/>, it counts the constants of the model's graph, without graphs inside nodes.</summary>
/// <param name="How">In words: what the file says of itself, or else what its operators show.</param>
/// <param name="Values">The number of weights that are integers of 8 bits or fewer.</param>
/// <param name="Bytes">Their bytes, without scales and zero points.</param>
internal sealed record QuantizedContents(string How, long Values, long Bytes)
{
    /// <summary>Operators of ONNX Runtime that hold several weights in a byte: the place of the bytes among their inputs.</summary>
    private static readonly Dictionary<string, int> Packed = new(StringComparer.Ordinal) { ["MatMulNBits"] = 1, ["GatherBlockQuantized"] = 0 };

    /// <summary>The places of zero points among the inputs of operators whose zero points can have several values.</summary>
    private static readonly Dictionary<string, int[]> ZeroPoints = new(StringComparer.Ordinal)
    {
        ["QuantizeLinear"] = [2],
        ["DequantizeLinear"] = [2],
        ["QLinearConv"] = [2, 5, 7],
        ["QLinearMatMul"] = [2, 5, 7],
        ["ConvInteger"] = [2, 3],
        ["MatMulInteger"] = [2, 3],
        ["MatMulIntegerToFloat"] = [4, 5],
        ["QGemm"] = [2, 5, 8],
        ["DynamicQuantizeMatMul"] = [3],
        ["MatMulNBits"] = [3],
        ["GatherBlockQuantized"] = [3],
    };

    private static readonly string[] Narrow = ["INT8", "UINT8", "INT4", "UINT4", "INT2", "UINT2"];

    /// <summary>How a file is quantized. Null if it is not.</summary>
    public static QuantizedContents? Of(OnnxFile file)
    {
        ArgumentNullException.ThrowIfNull(file);
        var nodes = file.Model.Nodes().Where(node => QuantizedNodes.Is(node.OpType)).ToList();

        // ONNX allows several entries with the same key: the last one counts.
        var said = file.Metadata.LastOrDefault(entry => entry.Key == OnnxMetadata.Quantization).Value;
        if (nodes.Count == 0 && said is null)
        {
            return null;
        }

        var points = nodes.Where(node => ZeroPoints.ContainsKey(node.OpType))
            .SelectMany(node => ZeroPoints[node.OpType].Where(place => place < node.Input.Count).Select(place => node.Input[place]))
            .ToHashSet(StringComparer.Ordinal);
        var bits = new Dictionary<string, int>(StringComparer.Ordinal);
        foreach (var node in nodes.Where(node => Packed.TryGetValue(node.OpType, out var place) && place < node.Input.Count))
        {
            bits[node.Input[Packed[node.OpType]]] = Bits(node);
        }

        var weights = file.Tensors.Where(tensor => Narrow.Contains(tensor.Type) && !points.Contains(tensor.Name)
            && tensor.Shape.Aggregate(1L, (product, size) => product * size) > 1).ToList();
        return new QuantizedContents(
            string.IsNullOrEmpty(said) ? Describe(nodes) : said,
            weights.Sum(tensor => tensor.Type == "UINT8" && bits.TryGetValue(tensor.Name, out var width) ? tensor.Bytes!.Value * 8 / width
                : tensor.Shape.Aggregate(1L, (product, size) => product * size)),
            weights.Sum(tensor => tensor.Bytes!.Value));
    }

    /// <summary>The width of a packed weight: what the node says, or 8 where no operator has such a width.</summary>
    private static int Bits(NodeProto node) => node.Integer("bits", 4) is var bits and (2 or 4 or 8) ? (int)bits : 8;

    private static string Describe(List<NodeProto> nodes)
    {
        var parts = new List<string>();
        if (nodes.Exists(node => node.OpType == "QuantizeLinear" || node.OpType.StartsWith("QLinear", StringComparison.Ordinal) || node.OpType == "QGemm"))
        {
            parts.Add("static");
        }

        if (nodes.Exists(node =>
            node.OpType.StartsWith("DynamicQuantize", StringComparison.Ordinal) || node.OpType.Contains("Integer", StringComparison.Ordinal)))
        {
            parts.Add("dynamic");
        }

        var widths = nodes.Where(node => Packed.ContainsKey(node.OpType)).Select(Bits).Distinct().Order()
            .Select(width => width.ToString(CultureInfo.InvariantCulture)).ToList();
        if (widths.Count > 0)
        {
            parts.Add($"weights of {string.Join(" and ", widths)} bits");
        }

        return parts.Count > 0 ? string.Join(", ", parts) : "weights alone";
    }
}
