namespace Nibble.Onnx.Graphs.Lifting;

/// <summary>Operators whose attributes became inputs.</summary>
internal static class AttributesToInputs
{
    /// <summary>Squeeze, Unsqueeze and ReduceSum: axes, which Unsqueeze requires.</summary>
    public static void Axes(NodeLift lift)
    {
        if (lift.Node.OpType == "Unsqueeze")
        {
            lift.SetInput(1, lift.Constant("axes", lift.Require("axes").Ints));
        }
        else if (lift.Take("axes") is { } axes)
        {
            lift.SetInput(1, lift.Constant("axes", axes.Ints));
        }
    }

    /// <summary>Sizes of the parts. Without them, the parts are equal.</summary>
    public static void Split(NodeLift lift)
    {
        if (lift.Take("split") is { } sizes)
        {
            lift.SetInput(1, lift.Constant("split", sizes.Ints));
        }
    }

    /// <summary>Bounds. A bound that is missing is the lowest or highest number of the type, before and after.</summary>
    public static void Clip(NodeLift lift)
    {
        var (minimum, maximum) = (lift.Take("min"), lift.Take("max"));
        if (minimum is not null)
        {
            lift.SetInput(1, lift.Scalar("min", minimum.F));
        }

        if (maximum is not null)
        {
            lift.SetInput(2, lift.Scalar("max", maximum.F));
        }
    }

    /// <summary>Numbers of values to add, and the value, of which constant padding alone makes use.</summary>
    public static void Pad(NodeLift lift)
    {
        lift.SetInput(1, lift.Constant("pads", lift.Require("pads").Ints));
        if (lift.Take("value") is { F: not 0 } value && lift.Node.Text("mode", "constant") == "constant")
        {
            lift.SetInput(2, lift.Scalar("value", value.F));
        }
    }

    /// <summary>Ranges and their axes: the first ones where the node does not say them.</summary>
    public static void Slice(NodeLift lift)
    {
        lift.SetInput(1, lift.Constant("starts", lift.Require("starts").Ints));
        lift.SetInput(2, lift.Constant("ends", lift.Require("ends").Ints));
        if (lift.Take("axes") is { Ints.Count: > 0 } axes)
        {
            lift.SetInput(3, lift.Constant("axes", axes.Ints));
        }
    }

    /// <summary>The number of values.</summary>
    public static void TopK(NodeLift lift) => lift.SetInput(1, lift.Constant("k", [lift.Require("k").I]));
}
