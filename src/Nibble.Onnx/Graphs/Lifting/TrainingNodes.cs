namespace Nibble.Onnx.Graphs.Lifting;

/// <summary>Operators that compute something else during training.</summary>
internal static class TrainingNodes
{
    /// <summary>BatchNormalization with statistics per value instead of per channel.</summary>
    public static void RequireSpatial(NodeLift lift)
    {
        if (lift.Take("spatial") is { I: 0 })
        {
            throw lift.Fault("has statistics per value (spatial is 0), expected statistics per channel");
        }
    }

    /// <summary>BatchNormalization that computes statistics, which more than one output says.</summary>
    public static void RequireOneOutput(NodeLift lift)
    {
        if (lift.Node.Output.Skip(1).Any(output => output.Length > 0))
        {
            throw lift.Fault("computes the statistics of training (more than one output), expected a model for inference");
        }
    }

    /// <summary>Dropout passes its input on. Its ratio counts only during training, and its mask is undefined without.</summary>
    public static void Dropout(NodeLift lift)
    {
        lift.Take("ratio");
        if (lift.Node.Output.Skip(1).Any(lift.IsRead))
        {
            throw lift.Fault("gives a mask that is read, which is defined during training only");
        }

        while (lift.Node.Output.Count > 1)
        {
            lift.Node.Output.RemoveAt(1);
        }
    }
}
