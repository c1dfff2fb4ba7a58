using Nibble.Numerics;
using Nibble.Onnx.Graphs;
using Nibble.Recipes;

namespace Nibble.Onnx.Quantization;

/// <summary>Stores the tables of Gather nodes as bytes with a scale per row. Only the rows that are looked up become float.</summary>
/// <param name="graph">The graph.</param>
internal sealed class EmbeddingTables(OnnxGraph graph)
{
    /// <summary>The number of values below which a table stays float: its nodes would cost more than its bytes save.</summary>
    public const int SmallestCount = 4096;

    private static readonly QuantizationScheme Scheme = new(8, symmetric: true, Granularity.Channel);

    private readonly Dictionary<string, (string Codes, string Scales)> tables = new(StringComparer.Ordinal);

    /// <summary>Looks rows up among bytes, in place of a Gather of a float table.</summary>
    /// <param name="node">A Gather.</param>
    /// <returns>Why the node stays as it is. Null if it was changed.</returns>
    public string? Apply(NodeProto node)
    {
        ArgumentNullException.ThrowIfNull(node);
        if (graph.Constant(node.Input[0]) is not { } table || !IsFloat(table.Element()))
        {
            return WeightPass.NoWeights;
        }

        if (Refusal(node, table) is { } reason)
        {
            return reason;
        }

        if (!tables.TryGetValue(table.Name, out var stored))
        {
            stored = Store(table);
            tables.Add(table.Name, stored);
        }

        string Rows(string kind, string values) => graph.AddNode(string.Empty, "Gather", $"{node.Name}/{kind}", [values, node.Input[1]]);
        var codes = Rows("codes", stored.Codes);
        var widened = graph.AddNode(string.Empty, "Cast", codes + "/float", [codes], NodeAttributes.Make("to", (long)OnnxType.Float32));
        graph.Replace(node, string.Empty, "Mul", [widened, Rows("scales", stored.Scales)]);
        return null;
    }

    private static bool IsFloat(OnnxType type) => type is OnnxType.Float32 or OnnxType.Float16 or OnnxType.BFloat16 or OnnxType.Float64;

    private string? Refusal(NodeProto node, TensorProto table)
    {
        if (table.Element() != OnnxType.Float32)
        {
            return $"its table has the type {table.Element().Name()}, and only float tables are quantized";
        }

        if (table.Dims.Count != 2 || node.Integer("axis", 0) is not (0 or -2))
        {
            return "it does not look up rows of a table with 2 axes";
        }

        if (table.Count() < SmallestCount)
        {
            return $"its table has {table.Count()} values, too few to gain from bytes";
        }

        if (graph.IsOutput(table.Name))
        {
            return "its table is an output of the model";
        }

        return graph.Consumers(table.Name).FirstOrDefault(other => !Shares(other, table.Name)) is { } reader
            ? $"its table is also read by {reader.OpType} '{reader.Name}'"
            : table.Floats().Any(value => !float.IsFinite(value)) ? "its table has values that are not finite" : null;
    }

    /// <summary>Whether a node that reads a table does not keep it from being stored as bytes.</summary>
    private static bool Shares(NodeProto node, string table) => node.OpType is "Gather" ? node.Input[0] == table && node.Input[1] != table
        : node.OpType is "MatMul" or "Gemm" && node.Input[0] != table;

    private (string Codes, string Scales) Store(TensorProto table)
    {
        var (rows, columns) = ((int)table.Dims[0], (int)table.Dims[1]);
        var codes = Quantize.Matrix(table.Floats(), rows, columns, Scheme, new MatrixOptions { Range = WeightRange.Mse });
        return (
            graph.AddConstant(TensorValues.Make(table.Name + ".row_codes", [rows, columns], (ReadOnlySpan<sbyte>)codes.Codes)),
            graph.AddConstant(TensorValues.Make(table.Name + ".row_scales", [rows, 1], (ReadOnlySpan<float>)codes.Scales)));
    }
}
