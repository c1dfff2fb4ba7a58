namespace Nibble.Onnx.Graphs;

/// <summary>The element types of ONNX tensors that Nibble reads or writes, with the values of <c>TensorProto.DataType</c>.</summary>
internal enum OnnxType
{
    Undefined = 0,
    Float32 = 1,
    UInt8 = 2,
    Int8 = 3,
    UInt16 = 4,
    Int16 = 5,
    Int32 = 6,
    Int64 = 7,
    String = 8,
    Bool = 9,
    Float16 = 10,
    Float64 = 11,
    UInt32 = 12,
    UInt64 = 13,
    BFloat16 = 16,
}

/// <summary>Sizes and names of element types.</summary>
internal static class OnnxTypes
{
    /// <summary>The name of the type in ONNX.</summary>
    public static string Name(this OnnxType type) => OnnxFile.TypeName((int)type);

    /// <summary>The size of one element in bytes.</summary>
    /// <exception cref="ArgumentOutOfRangeException">Elements of this type do not have one size in bytes.</exception>
    public static int ByteSize(this OnnxType type) => type switch
    {
        OnnxType.UInt8 or OnnxType.Int8 or OnnxType.Bool => 1,
        OnnxType.Float16 or OnnxType.BFloat16 or OnnxType.UInt16 or OnnxType.Int16 => 2,
        OnnxType.Float32 or OnnxType.Int32 or OnnxType.UInt32 => 4,
        OnnxType.Float64 or OnnxType.Int64 or OnnxType.UInt64 => 8,
        _ => throw new ArgumentOutOfRangeException(nameof(type), type, "Elements of this type do not have one size in bytes."),
    };
}
