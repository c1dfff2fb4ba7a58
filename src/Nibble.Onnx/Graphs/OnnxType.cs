namespace Nibble.Onnx.Graphs;

/// <summary>The element types of ONNX tensors that Nibble writes, with the values of <c>TensorProto.DataType</c>.</summary>
internal enum OnnxType
{
    Float32 = 1,
    UInt8 = 2,
    Int8 = 3,
    Int32 = 6,
    Int64 = 7,
    Bool = 9,
    Float16 = 10,
    Float64 = 11,
    BFloat16 = 16,
}

/// <summary>Sizes and names of element types.</summary>
internal static class OnnxTypes
{
    /// <summary>The name of the type in ONNX.</summary>
    public static string Name(this OnnxType type) => OnnxFile.TypeName((int)type);

    /// <summary>The size of one element in bytes.</summary>
    public static int ByteSize(this OnnxType type) => type switch
    {
        OnnxType.UInt8 or OnnxType.Int8 or OnnxType.Bool => 1,
        OnnxType.Float16 or OnnxType.BFloat16 => 2,
        OnnxType.Float32 or OnnxType.Int32 => 4,
        _ => 8,
    };
}
