using Nibble.Numerics;
using Nibble.Onnx.Graphs;
using Nibble.Onnx.Quantization;

namespace Nibble.Benchmarks.OnnxRules;

/// <summary>
/// Quantizes a graph by the rules of ONNX Runtime's Python package (<c>quantize_static</c> with its default options and QDQ format), written from its
/// documentation and from what its files look like: every operator of its list gets QuantizeLinear and DequantizeLinear around all its inputs and outputs, with
/// one scale for each tensor, weights included, from the smallest and largest value.
/// </summary>
internal sealed class PythonRules
{
    /// <summary>Operators whose outputs share the scale of their input, and are quantized only if it is.</summary>
    private static readonly HashSet<string> Direct = new(
        ["Flatten", "Gather", "MaxPool", "Reshape", "Resize", "Slice", "Split", "Squeeze", "Transpose", "Unsqueeze"], StringComparer.Ordinal);

    private static readonly HashSet<string> Quantized = new(
        ["Add", "AveragePool", "Clip", "Concat", "Conv", "ConvTranspose", "Gemm", "GlobalAveragePool", "LeakyRelu", "MatMul", "Mul", "Pad", "Relu", "Sigmoid",
            "Softmax", "Where", .. Direct], StringComparer.Ordinal);

    private readonly OnnxGraph graph;
    private readonly Func<string, ValueRange> ranges;
    private readonly bool isSigned;
    private readonly Dictionary<string, ByteGrid> grids = new(StringComparer.Ordinal);

    private PythonRules(OnnxGraph graph, Func<string, ValueRange> ranges, bool isSigned)
    {
        (this.graph, this.ranges, this.isSigned) = (graph, ranges, isSigned);
    }

    /// <summary>The values whose ranges are needed.</summary>
    public static IReadOnlyList<string> Values(OnnxGraph graph) =>
    [
        .. graph.Nodes.Where(IsQuantized).SelectMany(node => node.Input.Concat(node.Output)).Distinct(StringComparer.Ordinal)
            .Where(value => value.Length > 0 && graph.Constant(value) is null && graph.TypeOf(value) is { Element: OnnxType.Float32 }),
    ];

    /// <summary>Quantizes a graph.</summary>
    /// <param name="graph">The float graph, which is changed.</param>
    /// <param name="ranges">The smallest and largest value of each tensor.</param>
    /// <param name="isSigned">Whether activations are signed bytes, which is the package's default, or unsigned ones.</param>
    public static void Apply(OnnxGraph graph, Func<string, ValueRange> ranges, bool isSigned)
    {
        var rules = new PythonRules(graph, ranges, isSigned);
        rules.RemoveClamps();
        foreach (var node in graph.Nodes.Where(IsQuantized).ToList())
        {
            rules.Plan(node);
        }

        foreach (var (value, grid) in rules.grids)
        {
            graph.InsertAfter(value, read => rules.Pair(value, read, grid));
        }

        graph.Sort();
        graph.RemoveUnusedConstants();
    }

    private static bool IsQuantized(NodeProto node) => node.IsStandard() && Quantized.Contains(node.OpType);

    /// <summary>A clamp whose input nothing else reads is left to the range of its output.</summary>
    private void RemoveClamps()
    {
        foreach (var node in graph.Nodes.Where(node => node.OpType is "Relu" or "Clip").ToList())
        {
            var (input, output) = (node.Input[0], node.Output[0]);
            if (graph.Producer(input) is { } before && IsQuantized(before) && graph.Consumers(input).Count == 1
                && !graph.IsOutput(input) && !graph.IsOutput(output))
            {
                graph.Redirect(output, input, graph.Consumers(output));
                graph.Remove(node);
                grids[input] = ByteGrid.Of(ranges(output));
            }
        }
    }

    private void Plan(NodeProto node)
    {
        if (Direct.Contains(node.OpType))
        {
            if (grids.TryGetValue(node.Input[0], out var shared))
            {
                foreach (var output in node.Output)
                {
                    grids[output] = shared;
                }
            }

            return;
        }

        var hasWeight = node.OpType is "Conv" or "ConvTranspose" or "Gemm" or "MatMul";
        var weightScale = 0f;
        for (var i = 0; i < node.Input.Count; i++)
        {
            if (graph.Constant(node.Input[i]) is not { } constant)
            {
                Add(node.Input[i]);
            }
            else if (constant.Element() == OnnxType.Float32 && hasWeight && i == 2)
            {
                QuantizeBias(node, constant, grids[node.Input[0]].Scale * weightScale);
            }
            else if (constant.Element() == OnnxType.Float32 && node.OpType is not ("Clip" or "Pad"))
            {
                weightScale = QuantizeConstant(node, i, constant);
            }
        }

        foreach (var output in node.Output)
        {
            Add(output, node.OpType == "Softmax" ? new ValueRange(0, 1) : null);
        }
    }

    private void Add(string value, ValueRange? range = null)
    {
        if (value.Length > 0 && graph.TypeOf(value) is { Element: OnnxType.Float32 } && !grids.ContainsKey(value))
        {
            grids.Add(value, ByteGrid.Of(range ?? ranges(value)));
        }
    }

    private float QuantizeConstant(NodeProto node, int input, TensorProto constant)
    {
        var values = constant.Floats();
        var scale = Math.Max(values.Select(Math.Abs).DefaultIfEmpty(0).Max() / sbyte.MaxValue, float.Epsilon);
        var codes = Array.ConvertAll(values, value => (sbyte)Math.Clamp(MathF.Round(value / scale, MidpointRounding.ToEven), -sbyte.MaxValue, sbyte.MaxValue));
        var zeroPoint = TensorValues.Make(constant.Name + "/zero", [], [(sbyte)0]);
        graph.SetInput(node, input, Dequantized(TensorValues.Make(constant.Name + "/codes", constant.Dims, codes), scale, zeroPoint));
        return scale;
    }

    private void QuantizeBias(NodeProto node, TensorProto bias, float scale)
    {
        var codes = Array.ConvertAll(
            bias.Floats(), value => (int)Math.Clamp(Math.Round(value / (double)scale, MidpointRounding.ToEven), int.MinValue, int.MaxValue));
        graph.SetInput(node, 2, Dequantized(TensorValues.Make(node.Name + "/bias", bias.Dims, codes), scale, TensorValues.Make(bias.Name + "/zero", [], [0])));
    }

    private string Dequantized(TensorProto codes, float scale, TensorProto zeroPoint) => graph.AddNode(
        string.Empty, "DequantizeLinear", codes.Name + "/dequantized",
        [graph.AddConstant(codes), graph.AddConstant(TensorValues.Make(codes.Name + "/scale", [], [scale])), graph.AddConstant(zeroPoint)]);

    private string Pair(string value, string read, ByteGrid grid)
    {
        var scale = graph.AddConstant(TensorValues.Make(value + "/scale", [], [grid.Scale]));
        var zeroPoint = graph.AddConstant(
            isSigned ? TensorValues.Make(value + "/zero", [], [(sbyte)(grid.ZeroPoint - 128)]) : TensorValues.Make(value + "/zero", [], [grid.ZeroPoint]));
        var codes = graph.AddNode(string.Empty, "QuantizeLinear", value + "/codes", [read, scale, zeroPoint]);
        return graph.AddNode(string.Empty, "DequantizeLinear", value + "/dequantized", [codes, scale, zeroPoint]);
    }
}
