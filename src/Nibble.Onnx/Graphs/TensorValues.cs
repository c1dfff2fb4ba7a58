using System.Runtime.InteropServices;
using Google.Protobuf;

namespace Nibble.Onnx.Graphs;

/// <summary>Reads and makes the constants of a graph. Values may be stored as bytes or in the typed lists of the message.</summary>
/// <remarks>Definition: onnx/onnx, <c>onnx/onnx.proto</c>, <c>TensorProto</c>. External data must have been loaded.</remarks>
internal static class TensorValues
{
    /// <summary>The type of a constant's elements.</summary>
    public static OnnxType Element(this TensorProto tensor) => (OnnxType)tensor.DataType;

    /// <summary>The number of values that the shape requires.</summary>
    /// <exception cref="NibbleException">A size is negative, or the product is too large.</exception>
    public static int Count(this TensorProto tensor)
    {
        var count = 1L;
        foreach (var size in tensor.Dims)
        {
            count = size < 0 || size > Array.MaxLength ? -1 : count * size;
            if (count is < 0 or > int.MaxValue)
            {
                throw Fault(tensor, $"has the shape [{string.Join(", ", tensor.Dims)}], which is negative or too large");
            }
        }

        return (int)count;
    }

    /// <summary>Reads float32, float16, bfloat16 or float64 values as float32.</summary>
    /// <exception cref="NibbleException">The tensor has another type, or holds fewer or more values than its shape requires.</exception>
    public static float[] Floats(this TensorProto tensor)
    {
        var count = tensor.Count();
        return tensor.Element() switch
        {
            OnnxType.Float32 when tensor.HasRawData => Raw<float>(tensor, count),
            OnnxType.Float32 => Typed(tensor, tensor.FloatData, count, value => value),
            OnnxType.Float16 when tensor.HasRawData => Array.ConvertAll(Raw<Half>(tensor, count), value => (float)value),
            OnnxType.Float16 => Typed(tensor, tensor.Int32Data, count, value => (float)BitConverter.UInt16BitsToHalf((ushort)value)),
            OnnxType.BFloat16 when tensor.HasRawData => Array.ConvertAll(Raw<ushort>(tensor, count), Widen),
            OnnxType.BFloat16 => Typed(tensor, tensor.Int32Data, count, value => Widen((ushort)value)),
            OnnxType.Float64 when tensor.HasRawData => Array.ConvertAll(Raw<double>(tensor, count), value => (float)value),
            OnnxType.Float64 => Typed(tensor, tensor.DoubleData, count, value => (float)value),
            var type => throw Fault(tensor, $"has the type {type.Name()}, expected floating-point numbers"),
        };
    }

    /// <summary>Reads integers or booleans.</summary>
    /// <exception cref="NibbleException">The tensor has another type, or holds fewer or more values than its shape requires.</exception>
    public static long[] Integers(this TensorProto tensor)
    {
        var count = tensor.Count();
        return tensor.Element() switch
        {
            OnnxType.Int64 when tensor.HasRawData => Raw<long>(tensor, count),
            OnnxType.Int64 => Typed(tensor, tensor.Int64Data, count, value => value),
            OnnxType.Int32 when tensor.HasRawData => Array.ConvertAll(Raw<int>(tensor, count), value => (long)value),
            OnnxType.Int8 when tensor.HasRawData => Array.ConvertAll(Raw<sbyte>(tensor, count), value => (long)value),
            OnnxType.UInt8 or OnnxType.Bool when tensor.HasRawData => Array.ConvertAll(Raw<byte>(tensor, count), value => (long)value),
            OnnxType.Int16 when tensor.HasRawData => Array.ConvertAll(Raw<short>(tensor, count), value => (long)value),
            OnnxType.UInt16 when tensor.HasRawData => Array.ConvertAll(Raw<ushort>(tensor, count), value => (long)value),
            OnnxType.Int32 or OnnxType.Int8 or OnnxType.UInt8 or OnnxType.Bool or OnnxType.Int16 or OnnxType.UInt16 =>
                Typed(tensor, tensor.Int32Data, count, value => (long)value),
            OnnxType.UInt32 when tensor.HasRawData => Array.ConvertAll(Raw<uint>(tensor, count), value => (long)value),
            OnnxType.UInt32 => Typed(tensor, tensor.Uint64Data, count, value => (long)value),
            var type => throw Fault(tensor, $"has the type {type.Name()}, expected integers"),
        };
    }

    /// <summary>Makes a float32 constant.</summary>
    public static TensorProto Make(string name, IEnumerable<long> shape, ReadOnlySpan<float> values) => Make(name, OnnxType.Float32, shape, values);

    /// <summary>Makes an int64 constant.</summary>
    public static TensorProto Make(string name, IEnumerable<long> shape, ReadOnlySpan<long> values) => Make(name, OnnxType.Int64, shape, values);

    /// <summary>Makes an int32 constant.</summary>
    public static TensorProto Make(string name, IEnumerable<long> shape, ReadOnlySpan<int> values) => Make(name, OnnxType.Int32, shape, values);

    /// <summary>Makes an int8 constant.</summary>
    public static TensorProto Make(string name, IEnumerable<long> shape, ReadOnlySpan<sbyte> values) => Make(name, OnnxType.Int8, shape, values);

    /// <summary>Makes a uint8 constant.</summary>
    public static TensorProto Make(string name, IEnumerable<long> shape, ReadOnlySpan<byte> values) => Make(name, OnnxType.UInt8, shape, values);

    /// <summary>Makes a constant from its bytes.</summary>
    public static TensorProto Make(string name, OnnxType type, IEnumerable<long> shape, ReadOnlySpan<byte> bytes) => Make<byte>(name, type, shape, bytes);

    /// <summary>The error for a constant that does not hold what its shape and type require.</summary>
    public static NibbleException Fault(TensorProto tensor, string fault) => new($"The model's tensor '{tensor.Name}' {fault}.");

    private static TensorProto Make<T>(string name, OnnxType type, IEnumerable<long> shape, ReadOnlySpan<T> values)
        where T : unmanaged =>
        new() { Name = name, DataType = (int)type, Dims = { shape }, RawData = ByteString.CopyFrom(MemoryMarshal.AsBytes(values)) };

    private static T[] Raw<T>(TensorProto tensor, int count)
        where T : unmanaged
    {
        var values = MemoryMarshal.Cast<byte, T>(tensor.RawData.Span);
        return (long)count * Marshal.SizeOf<T>() == tensor.RawData.Length ? values.ToArray()
            : throw Fault(tensor, $"holds {tensor.RawData.Length} bytes, expected {(long)count * Marshal.SizeOf<T>()} for its shape");
    }

    private static TResult[] Typed<T, TResult>(TensorProto tensor, IReadOnlyCollection<T> values, int count, Func<T, TResult> convert) =>
        values.Count == count ? [.. values.Select(convert)] : throw Fault(tensor, $"holds {values.Count} values, expected {count} for its shape");

    private static float Widen(ushort bits) => BitConverter.UInt32BitsToSingle((uint)bits << 16);
}
