namespace Nibble.Onnx.Graphs.Lifting;

/// <summary>The changes from operator set 7 to 17 that are not mere additions.</summary>
internal static class OperatorChanges
{
    private static readonly ILookup<string, OperatorChange> All = ((OperatorChange[])
    [
        new("BatchNormalization", 9, TrainingNodes.RequireSpatial),
        new("BatchNormalization", 14, TrainingNodes.RequireOneOutput),
        new("Clip", 11, AttributesToInputs.Clip),
        new("Dropout", 12, TrainingNodes.Dropout),
        new("Hardmax", 13, SoftmaxAxis.Apply),
        new("ImageScaler", 10, RemovedOperators.ImageScaler),
        new("LogSoftmax", 13, SoftmaxAxis.Apply),
        new("Pad", 11, AttributesToInputs.Pad),
        new("ReduceSum", 13, AttributesToInputs.Axes),
        new("Resize", 11, Resizing.Resize),
        new("RoiAlign", 16, Resizing.RoiAlign),
        new("Scan", 9, lift => throw lift.Fault("has a batch axis that newer versions do not have")),
        new("Scatter", 11, RemovedOperators.Scatter),
        new("Slice", 10, AttributesToInputs.Slice),
        new("Softmax", 13, SoftmaxAxis.Apply),
        new("Split", 13, AttributesToInputs.Split),
        new("Squeeze", 13, AttributesToInputs.Axes),
        new("TopK", 10, AttributesToInputs.TopK),
        new("Unsqueeze", 13, AttributesToInputs.Axes),
        new("Upsample", 10, Resizing.Upsample),
        .. RemovedOperators.WithoutEquivalent.Select(removed => new OperatorChange(removed.Operator, removed.Version, RemovedOperators.Refuse)),
    ]).OrderBy(change => change.Version).ToLookup(change => change.Operator, StringComparer.Ordinal);

    /// <summary>The changes that a node needs, the oldest first.</summary>
    /// <param name="node">The node.</param>
    /// <param name="version">The version of its operator.</param>
    public static IEnumerable<OperatorChange> Of(NodeProto node, long version) =>
        node.IsStandard() ? All[node.OpType].Where(change => change.Version > version) : [];
}
