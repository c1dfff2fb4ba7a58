using Google.Protobuf.Collections;

namespace Nibble.Onnx.Graphs.Lifting;

/// <summary>Changes models of older operator sets to operator set 17, without changing what they compute.</summary>
/// <remarks>What changed between the sets: onnx/onnx, <c>docs/Changelog.md</c>. Where the text leaves it open, what ONNX Runtime computes for the old operator
/// counts. Nodes of other domains are left as they are.</remarks>
internal static class OperatorSetLift
{
    /// <summary>The operator set that models are changed to.</summary>
    public const int Target = 17;

    /// <summary>The oldest operator set that can be changed. Older ones broadcast in another way.</summary>
    public const int Oldest = 7;

    // The version of the format that came with operator set 17.
    private const int IrVersion = 8;

    /// <summary>Changes a model in place. Newer models are left as they are.</summary>
    /// <param name="graph">The model.</param>
    /// <param name="name">What messages call the model, for example its path.</param>
    /// <exception cref="NibbleException">The operator set is too old, or a node has no equivalent. The message names the node.</exception>
    public static void Lift(OnnxGraph graph, string name)
    {
        ArgumentNullException.ThrowIfNull(graph);
        var version = graph.OperatorSet;
        if (version >= Target)
        {
            return;
        }

        RequireVersion(version, name, "the model");
        foreach (var function in graph.Model.Functions)
        {
            Lift(function, name);
        }

        var root = LiftScope.Of(graph, name, version);
        Lift(root, graph.Proto.Node);
        graph.NodesChanged();
        foreach (var set in graph.Model.OpsetImport.Where(IsStandard))
        {
            set.Version = Target;
        }

        graph.Model.IrVersion = Math.Max(graph.Model.IrVersion, IrVersion);
        graph.RemoveUnusedConstants();
    }

    private static void Lift(LiftScope scope, RepeatedField<NodeProto> nodes)
    {
        var lifted = new List<NodeProto>(nodes.Count);
        foreach (var node in nodes)
        {
            foreach (var inner in Subgraphs.Of(node))
            {
                Lift(scope.Inside(inner), inner.Node);
            }

            var lift = new NodeLift(scope, node);
            foreach (var change in OperatorChanges.Of(node, scope.Version).ToList())
            {
                change.Apply(lift);
            }

            lifted.AddRange([.. lift.NodesBefore, node, .. lift.NodesAfter]);
        }

        nodes.Clear();
        nodes.AddRange(lifted);
    }

    /// <summary>A function cannot read constants of the graph, so none of its operators may need a change.</summary>
    private static void Lift(FunctionProto function, string name)
    {
        foreach (var set in function.OpsetImport.Where(set => IsStandard(set) && set.Version < Target))
        {
            RequireVersion(set.Version, name, $"the function '{function.Name}'");
            var nodes = function.Node.Concat(function.Node.SelectMany(Subgraphs.Of).SelectMany(InnerNodes));
            if (nodes.FirstOrDefault(node => OperatorChanges.Of(node, set.Version).Any()) is { } found)
            {
                throw new NibbleException(
                    $"{name}: the function '{function.Name}' has the node '{found.Name}' with the operator {found.OpType} of operator set {set.Version}, which "
                    + $"cannot be changed to operator set {Target} inside a function. Expected a model whose functions are inlined.");
            }

            set.Version = Target;
        }
    }

    private static IEnumerable<NodeProto> InnerNodes(GraphProto graph) =>
        graph.Node.Concat(graph.Node.SelectMany(Subgraphs.Of).SelectMany(InnerNodes));

    private static void RequireVersion(long version, string name, string what)
    {
        if (version < Oldest)
        {
            throw new NibbleException(
                $"{name}: {what} has operator set {version}, expected {Oldest} or later. Export the model again with a newer operator set.");
        }
    }

    private static bool IsStandard(OperatorSetIdProto set) => set.Domain is "" or "ai.onnx";
}
