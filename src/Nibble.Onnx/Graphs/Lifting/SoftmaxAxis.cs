namespace Nibble.Onnx.Graphs.Lifting;

/// <summary>Softmax, LogSoftmax and Hardmax: before operator set 13, they treated all axes from a given one as one.</summary>
internal static class SoftmaxAxis
{
    /// <summary>Changes the axis. If it is not the last one, the input becomes a matrix and the output gets the input's shape back.</summary>
    public static void Apply(NodeLift lift)
    {
        var axis = lift.Take("axis")?.I ?? 1;
        lift.Node.Attribute.Add(NodeAttributes.Make("axis", -1L));
        if (axis == -1 || axis == lift.Rank(0) - 1)
        {
            return;
        }

        var input = lift.Input(0);
        var shape = lift.Before("Shape", "shape", [input]);
        lift.SetInput(0, lift.Before("Flatten", "flatten", [input], NodeAttributes.Make("axis", axis)));

        // A size of 0 is one, and does not mean that of the matrix.
        lift.After("Reshape", "rows", [shape], NodeAttributes.Make("allowzero", 1L));
    }
}
