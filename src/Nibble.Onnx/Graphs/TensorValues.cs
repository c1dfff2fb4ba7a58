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
            OnnxType.UInt64 when tensor.HasRawData => Array.ConvertAll(Raw<ulong>(tensor, count), value => Signed(tensor, value)),
            OnnxType.UInt64 => Typed(tensor, tensor.Uint64Data, count, value => Signed(tensor, value)),
            var type => throw Fault(tensor, $"has the type {type.Name()}, expected integers"),
        };
    }

    /// <summary>The size of one element in bytes.</summary>
    /// <exception cref="NibbleException">Elements of this type do not have one size in bytes.</exception>
    public static int ElementBytes(this TensorProto tensor)
    {
        try
        {
            return tensor.Element().ByteSize();
        }
        catch (ArgumentOutOfRangeException exception)
        {
            throw new NibbleException(Fault(tensor, $"has the type {tensor.Element().Name()}, expected elements of whole bytes").Message, exception);
        }
    }

    /// <summary>The values as bytes, little-endian and in row-major order.</summary>
    /// <exception cref="NibbleException">The type has no size in bytes, or the tensor holds fewer or more values than its shape requires.</exception>
    public static byte[] Bytes(this TensorProto tensor)
    {
        var (count, width) = (tensor.Count(), tensor.ElementBytes());
        return tensor.HasRawData ? (long)count * width == tensor.RawData.Length ? tensor.RawData.ToByteArray() : throw Fault(
                tensor, $"holds {tensor.RawData.Length} bytes, expected {(long)count * width} for its shape")
            : tensor.Element() switch
            {
                OnnxType.Float32 => AsBytes(Typed(tensor, tensor.FloatData, count, value => value)),
                OnnxType.Float64 => AsBytes(Typed(tensor, tensor.DoubleData, count, value => value)),
                OnnxType.Int64 => AsBytes(Typed(tensor, tensor.Int64Data, count, value => value)),
                OnnxType.UInt64 => AsBytes(Typed(tensor, tensor.Uint64Data, count, value => value)),
                OnnxType.UInt32 => AsBytes(Typed(tensor, tensor.Uint64Data, count, value => (uint)value)),
                OnnxType.Int32 => AsBytes(Typed(tensor, tensor.Int32Data, count, value => value)),
                _ when width == 2 => AsBytes(Typed(tensor, tensor.Int32Data, count, value => (short)value)),
                _ => Typed(tensor, tensor.Int32Data, count, value => (byte)value),
            };
    }

    /// <summary>Requires that a tensor of any type holds as many values as its shape requires.</summary>
    /// <remarks>The size of raw bytes is checked by <see cref="OnnxFile"/>.</remarks>
    /// <exception cref="NibbleException">It holds fewer or more.</exception>
    public static void RequireValues(this TensorProto tensor)
    {
        if (tensor.HasRawData)
        {
            return;
        }

        // Complex numbers are stored as pairs, and numbers of less than a byte packed into bytes.
        long count = tensor.Count();
        var (held, expected) = tensor.DataType switch
        {
            1 => (tensor.FloatData.Count, count),
            14 => (tensor.FloatData.Count, 2 * count),
            11 => (tensor.DoubleData.Count, count),
            15 => (tensor.DoubleData.Count, 2 * count),
            7 => (tensor.Int64Data.Count, count),
            12 or 13 => (tensor.Uint64Data.Count, count),
            8 => (tensor.StringData.Count, count),
            21 or 22 or 23 => (tensor.Int32Data.Count, (count + 1) / 2),
            25 or 26 => (tensor.Int32Data.Count, (count + 3) / 4),
            _ => (tensor.Int32Data.Count, count),
        };
        if (held != expected)
        {
            throw Fault(tensor, $"holds {held} values, expected {expected} for its shape");
        }
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

    private static byte[] AsBytes<T>(T[] values)
        where T : unmanaged => MemoryMarshal.AsBytes(values.AsSpan()).ToArray();

    private static long Signed(TensorProto tensor, ulong value) => value <= long.MaxValue ? (long)value
        : throw Fault(tensor, $"holds the number {value}, expected at most {long.MaxValue}");

    private static float Widen(ushort bits) => BitConverter.UInt32BitsToSingle((uint)bits << 16);
}
