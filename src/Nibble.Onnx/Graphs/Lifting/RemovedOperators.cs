namespace Nibble.Onnx.Graphs.Lifting;

/// <summary>Operators that newer versions do not have.</summary>
internal static class RemovedOperators
{
    /// <summary>The experimental operators of early versions that no operator replaces, and the version without them.</summary>
    /// <remarks>ONNX Runtime, <c>onnxruntime/core/graph/contrib_ops/contrib_defs.cc</c>: those it computes up to operator set 9. MeanVarianceNormalization
    /// became a standard operator with other attributes.</remarks>
    public static IEnumerable<(string Operator, int Version)> WithoutEquivalent =>
    [
        ("MeanVarianceNormalization", 9), ("Affine", 10), ("Crop", 10), ("DynamicSlice", 10), ("GivenTensorFill", 10), ("GRUUnit", 10),
        ("ParametricSoftplus", 10), ("Scale", 10), ("ScaledTanh", 10),
    ];

    /// <summary>Refuses a node.</summary>
    public static void Refuse(NodeLift lift) => throw lift.Fault("has no equivalent");

    /// <summary>Scatter got another name.</summary>
    public static void Scatter(NodeLift lift) => lift.Node.OpType = "ScatterElements";

    /// <summary>ImageScaler multiplies an image by a number and adds one to each channel.</summary>
    public static void ImageScaler(NodeLift lift)
    {
        var bias = lift.Require("bias").Floats;
        var scaled = lift.Before("Mul", "scaled", [lift.Input(0), lift.Scalar("scale", lift.Take("scale")?.F ?? 1)]);
        lift.Node.OpType = "Add";
        lift.SetInput(0, scaled);
        lift.SetInput(1, lift.Constant("bias", bias, bias.Count, 1, 1));
    }
}
