using System.Runtime.InteropServices;

namespace Nibble.Files;

/// <summary>Sizes of element types, and conversion between <see cref="float"/> and the bytes of the floating-point ones.</summary>
/// <remarks>Bytes are little-endian. Narrowing rounds half to even, overflows to infinity and keeps NaN.</remarks>
internal static class ElementTypes
{
    /// <summary>Bytes of one element.</summary>
    public static int ByteSize(this ElementType type) => type switch
    {
        ElementType.I8 => 1,
        ElementType.F16 or ElementType.BF16 => 2,
        ElementType.F32 or ElementType.I32 => 4,
        ElementType.I64 => 8,
        _ => throw new ArgumentOutOfRangeException(nameof(type), type, "Not an element type."),
    };

    /// <summary>Whether <see cref="ToSingles"/> and <see cref="ToBytes"/> support the type: F32, F16 or BF16.</summary>
    public static bool IsFloatingPoint(this ElementType type) => type is ElementType.F32 or ElementType.F16 or ElementType.BF16;

    /// <summary>Reads the values of stored elements.</summary>
    /// <param name="type">F32, F16 or BF16.</param>
    /// <param name="source">The stored bytes, <see cref="ByteSize"/> per value.</param>
    /// <param name="values">Receives the values.</param>
    /// <exception cref="ArgumentException">The lengths do not match, or the type is not floating-point.</exception>
    public static void ToSingles(this ElementType type, ReadOnlySpan<byte> source, Span<float> values)
    {
        if (source.Length != (long)values.Length * type.ByteSize())
        {
            throw new ArgumentException(
                $"{values.Length} {type} values are {(long)values.Length * type.ByteSize()} bytes, found {source.Length}.", nameof(source));
        }

        switch (type)
        {
            case ElementType.F32:
                source.CopyTo(MemoryMarshal.AsBytes(values));
                break;
            case ElementType.F16:
                var halves = MemoryMarshal.Cast<byte, Half>(source);
                for (var i = 0; i < values.Length; i++)
                {
                    values[i] = (float)halves[i];
                }

                break;
            case ElementType.BF16:
                var uppers = MemoryMarshal.Cast<byte, ushort>(source);
                for (var i = 0; i < values.Length; i++)
                {
                    values[i] = BitConverter.UInt32BitsToSingle((uint)uppers[i] << 16);
                }

                break;
            default:
                throw NotFloatingPoint(type);
        }
    }

    /// <summary>Stores values.</summary>
    /// <param name="type">F32, F16 or BF16.</param>
    /// <param name="values">The values.</param>
    /// <returns>Their bytes, <see cref="ByteSize"/> per value.</returns>
    /// <exception cref="ArgumentException">The type is not floating-point.</exception>
    public static byte[] ToBytes(this ElementType type, ReadOnlySpan<float> values)
    {
        var bytes = new byte[checked(values.Length * type.ByteSize())];
        switch (type)
        {
            case ElementType.F32:
                MemoryMarshal.AsBytes(values).CopyTo(bytes);
                break;
            case ElementType.F16:
                var halves = MemoryMarshal.Cast<byte, Half>(bytes.AsSpan());
                for (var i = 0; i < values.Length; i++)
                {
                    halves[i] = (Half)values[i];
                }

                break;
            case ElementType.BF16:
                var uppers = MemoryMarshal.Cast<byte, ushort>(bytes.AsSpan());
                for (var i = 0; i < values.Length; i++)
                {
                    uppers[i] = ToBFloat16(values[i]);
                }

                break;
            default:
                throw NotFloatingPoint(type);
        }

        return bytes;
    }

    /// <summary>Stores values in a stream, one part at a time, because all bytes may be more than an array can hold.</summary>
    /// <param name="type">F32, F16 or BF16.</param>
    /// <param name="values">The values.</param>
    /// <param name="stream">Receives their bytes, <see cref="ByteSize"/> per value.</param>
    /// <exception cref="ArgumentException">The type is not floating-point.</exception>
    public static void Write(this ElementType type, ReadOnlySpan<float> values, Stream stream)
    {
        ArgumentNullException.ThrowIfNull(stream);
        const int Part = 1 << 20;
        for (; values.Length > Part; values = values[Part..])
        {
            stream.Write(type.ToBytes(values[..Part]));
        }

        stream.Write(type.ToBytes(values));
    }

    /// <summary>The nearest value that the type can hold.</summary>
    /// <param name="type">F32, F16 or BF16.</param>
    /// <param name="value">The value to round.</param>
    /// <exception cref="ArgumentException">The type is not floating-point.</exception>
    public static float Round(this ElementType type, float value) => type switch
    {
        ElementType.F32 => value,
        ElementType.F16 => (float)(Half)value,
        ElementType.BF16 => BitConverter.UInt32BitsToSingle((uint)ToBFloat16(value) << 16),
        _ => throw NotFloatingPoint(type),
    };

    private static ushort ToBFloat16(float value)
    {
        var bits = BitConverter.SingleToUInt32Bits(value);
        if (float.IsNaN(value))
        {
            // Setting the quiet bit keeps a NaN whose payload is in the lower half from turning into infinity.
            return (ushort)((bits >> 16) | 0x40);
        }

        return (ushort)((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16);
    }

    private static ArgumentException NotFloatingPoint(ElementType type) => new($"Expected F32, F16 or BF16, found {type}.", nameof(type));
}
