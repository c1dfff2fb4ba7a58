namespace Nibble.Onnx.Graphs.Lifting;

/// <summary>Operators that resample. Before operator set 11, the text does not say which of two neighbours is the nearest.</summary>
internal static class Resizing
{
    private const string Coordinates = "coordinate_transformation_mode";

    /// <summary>Upsample became Resize. Its scales, none below 1, were an attribute before operator set 9.</summary>
    public static void Upsample(NodeLift lift)
    {
        var scales = lift.Take("scales") is { } attribute ? lift.Constant("scales", attribute.Floats, attribute.Floats.Count) : lift.Input(1);
        lift.Node.OpType = "Resize";
        Set(lift, scales, "floor");
    }

    /// <summary>The scales moved, and modes were added.</summary>
    /// <remarks>ONNX Runtime computes the old nearest neighbour by rounding down where it enlarges, and up where it reduces.</remarks>
    public static void Resize(NodeLift lift)
    {
        var scales = lift.Input(1);
        var known = lift.Floats(1);
        if (lift.Node.Text("mode", "nearest") != "nearest" || (known?.All(scale => scale >= 1) ?? false))
        {
            Set(lift, scales, "floor");
        }
        else if (known?.All(scale => scale <= 1) ?? false)
        {
            Set(lift, scales, "ceil");
        }
        else
        {
            // Each axis is resampled on its own, so first those that are enlarged, then the others.
            var one = lift.Constant("one", [1f]);
            var enlarged = lift.Before(
                "Resize",
                "enlarge",
                [lift.Input(0), string.Empty, lift.Before("Max", "enlarging", [scales, one])],
                NodeAttributes.Make("mode", "nearest"),
                NodeAttributes.Make(Coordinates, "asymmetric"),
                NodeAttributes.Make("nearest_mode", "floor"));
            lift.SetInput(0, enlarged);
            Set(lift, lift.Before("Min", "reducing", [scales, one]), "ceil");
        }
    }

    /// <summary>Another default of the coordinates.</summary>
    public static void RoiAlign(NodeLift lift)
    {
        if (lift.Node.Attribute(Coordinates) is null)
        {
            lift.Node.Attribute.Add(NodeAttributes.Make(Coordinates, "output_half_pixel"));
        }
    }

    private static void Set(NodeLift lift, string scales, string nearest)
    {
        lift.SetInput(1, string.Empty);
        lift.SetInput(2, scales);
        lift.Node.Attribute.Add(NodeAttributes.Make(Coordinates, "asymmetric"));
        if (lift.Node.Text("mode", "nearest") == "nearest")
        {
            lift.Node.Attribute.Add(NodeAttributes.Make("nearest_mode", nearest));
        }
    }
}
