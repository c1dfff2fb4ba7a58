using Nibble.Onnx.Graphs;

namespace Nibble.Onnx.Quantization.Placement;

/// <summary>The rules for all operators that ONNX Runtime can compute with integers.</summary>
internal static class PlacementRules
{
    private static readonly Dictionary<string, IPlacementRule> ByOperator = ((IPlacementRule[])
    [
        new ConvolutionRule(), new MatMulRule(), new GemmRule(), new ArithmeticRule(), new UnaryRule(), new ConcatRule(), new MoveRule(), new ClampRule(),
    ]).SelectMany(rule => rule.Operators.Select(name => KeyValuePair.Create(name, rule))).ToDictionary(StringComparer.Ordinal);

    /// <summary>Whether an operator only clamps its first input, moves it, or chooses among it.</summary>
    public static bool ClampsOrMoves(NodeProto node) => node.IsStandard() && ByOperator.GetValueOrDefault(node.OpType) is ClampRule or MoveRule;

    /// <summary>Judges a node.</summary>
    /// <param name="node">The node.</param>
    /// <param name="graph">Its graph.</param>
    /// <param name="reason">Why it must stay float. Empty if it need not.</param>
    /// <returns>Its form. Null if it must stay float.</returns>
    public static NodeForm? Judge(NodeProto node, OnnxGraph graph, out string reason)
    {
        if (!node.IsStandard() || !ByOperator.TryGetValue(node.OpType, out var rule))
        {
            reason = Subgraphs.Of(node).Any() ? "it holds graphs of its own" : $"ONNX Runtime has no integer kernel for {node.OpType}";
            return null;
        }

        var form = rule.Judge(node, graph, out reason);
        if (form is null)
        {
            return null;
        }

        var values = form.Inputs.Select(input => node.Input[input]).Concat(form.Weight is { } weight ? [node.Input[weight.Input]] : []).Append(node.Output[0]);
        foreach (var value in values)
        {
            if (graph.TypeOf(value) is not { Element: OnnxType.Float32 })
            {
                reason = graph.TypeOf(value) is { } type ? $"it computes {type.Element.Name()} numbers" : "the type of its values is unknown";
                return null;
            }
        }

        return form;
    }
}
