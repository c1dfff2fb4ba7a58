using System.Globalization;
using System.Numerics;
using System.Runtime.InteropServices;

namespace Nibble.Files;

/// <summary>Detects NaN and infinity in a model's input values. They spread to every result, and no score or loss would reveal the cause.</summary>
internal static class FiniteValues
{
    /// <summary>The index of the first stored element that is NaN or infinite; -1 if there is none.</summary>
    /// <param name="type">F32, F16 or BF16.</param>
    /// <param name="source">The stored bytes, whole elements.</param>
    /// <exception cref="ArgumentException">The type is not floating-point.</exception>
    public static int IndexOfFault(ElementType type, ReadOnlySpan<byte> source) => type switch
    {
        ElementType.F32 => IndexOf(MemoryMarshal.Cast<byte, uint>(source), 0x7F800000u),
        ElementType.F16 => IndexOf(MemoryMarshal.Cast<byte, ushort>(source), (ushort)0x7C00),
        ElementType.BF16 => IndexOf(MemoryMarshal.Cast<byte, ushort>(source), (ushort)0x7F80),
        _ => throw new ArgumentException($"Expected F32, F16 or BF16, found {type}.", nameof(type)),
    };

    /// <summary>The index of the first value that is NaN or infinite; -1 if there is none.</summary>
    public static int IndexOfFault(ReadOnlySpan<float> values) => IndexOfFault(ElementType.F32, MemoryMarshal.AsBytes(values));

    /// <summary>Rejects values if one is NaN or infinite.</summary>
    /// <param name="values">Values of a tensor, in its order.</param>
    /// <param name="place">The file or folder that holds the tensor.</param>
    /// <param name="tensor">The tensor's name.</param>
    /// <param name="shape">The tensor's shape.</param>
    /// <param name="start">The index in the tensor of the first value.</param>
    /// <exception cref="NibbleException">A value is NaN or infinite. The message gives the value and its position.</exception>
    public static void Require(ReadOnlySpan<float> values, string place, string tensor, IReadOnlyList<long> shape, long start = 0)
    {
        if (IndexOfFault(values) is >= 0 and var fault)
        {
            throw Fault(place, tensor, shape, start + fault, values[fault]);
        }
    }

    /// <summary>The exception for a tensor that holds NaN or infinity.</summary>
    /// <param name="place">The file or folder that holds the tensor.</param>
    /// <param name="tensor">The tensor's name.</param>
    /// <param name="shape">The tensor's shape.</param>
    /// <param name="index">The index of the value in the tensor.</param>
    /// <param name="value">The value.</param>
    public static NibbleException Fault(string place, string tensor, IReadOnlyList<long> shape, long index, float value)
    {
        ArgumentNullException.ThrowIfNull(shape);
        var position = new long[shape.Count];
        for (var (axis, rest) = (shape.Count - 1, index); axis >= 0; axis--)
        {
            (rest, position[axis]) = Math.DivRem(rest, Math.Max(1, shape[axis]));
        }

        return new NibbleException(string.Create(
            CultureInfo.InvariantCulture,
            $"{place}: tensor '{tensor}' holds {value} at [{string.Join(", ", position)}], expected finite values; the file is damaged, or it comes from a "
                + $"training run that diverged: download it again, or use an earlier checkpoint"));
    }

    /// <summary>The index of the first element whose exponent has all bits set, as in NaN and infinity.</summary>
    private static int IndexOf<T>(ReadOnlySpan<T> elements, T exponent)
        where T : struct, IBinaryInteger<T>
    {
        var mask = new Vector<T>(exponent);
        var i = 0;
        while (i <= elements.Length - Vector<T>.Count && !Vector.EqualsAny(new Vector<T>(elements[i..]) & mask, mask))
        {
            i += Vector<T>.Count;
        }

        for (; i < elements.Length; i++)
        {
            if ((elements[i] & exponent) == exponent)
            {
                return i;
            }
        }

        return -1;
    }
}
