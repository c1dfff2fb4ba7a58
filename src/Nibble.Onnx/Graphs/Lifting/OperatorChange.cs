namespace Nibble.Onnx.Graphs.Lifting;

/// <summary>What became of an operator in a version of the standard operators.</summary>
/// <param name="Operator">The operator, as older versions name it.</param>
/// <param name="Version">The first version with the change. Nodes of older ones need it.</param>
/// <param name="Apply">Makes a node compute the same in the newer version.</param>
internal sealed record OperatorChange(string Operator, int Version, Action<NodeLift> Apply);
