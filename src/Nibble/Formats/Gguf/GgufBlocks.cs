using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;
using Nibble.Files;
using Nibble.Formats.Gguf.Blocks;

namespace Nibble.Formats.Gguf;

/// <summary>Rounds values to the blocks of a type.</summary>
internal static class GgufBlocks
{
    /// <summary>Quantizes values.</summary>
    /// <param name="type">A type that holds real numbers.</param>
    /// <param name="values">Finite values that fill whole blocks.</param>
    /// <exception cref="ArgumentException">The values do not fill whole blocks.</exception>
    public static byte[] Quantize(GgufType type, ReadOnlySpan<float> values)
    {
        if (values.Length % type.BlockSize() != 0)
        {
            throw new ArgumentException($"{values.Length} values do not fill whole blocks of {type}, which have {type.BlockSize()} values.", nameof(values));
        }

        var blocks = new byte[values.Length / type.BlockSize() * type.BlockBytes()];
        BlockCodecs.For(type).Quantize(values, blocks);
        return blocks;
    }

    /// <summary>The largest magnitude that a type accepts. Scales are binary16, and so are the values of F16. No useful model has larger weights.</summary>
    public static float LargestOf(GgufType type) => type is GgufType.F32 or GgufType.BF16 ? float.MaxValue : (float)Half.MaxValue;

    /// <summary>The index of the first value that a type cannot hold because it is NaN, infinite or too large; -1 if there is none.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static int FindFault(GgufType type, ReadOnlySpan<float> values)
    {
        // As integers without the sign bit, floats keep their order, and NaN is above all other values.
        var bits = BitConverter.SingleToInt32Bits(LargestOf(type));
        var (largest, magnitude) = (Vector256<int>.Zero, Vector256.Create(int.MaxValue));
        var vectors = MemoryMarshal.Cast<float, Vector256<int>>(values);
        foreach (var vector in vectors)
        {
            largest = Vector256.Max(largest, vector & magnitude);
        }

        var done = Vector256.GreaterThanAny(largest, Vector256.Create(bits)) ? 0 : vectors.Length * Vector256<int>.Count;
        for (; done < values.Length; done++)
        {
            if ((BitConverter.SingleToInt32Bits(values[done]) & int.MaxValue) > bits)
            {
                return done;
            }
        }

        return -1;
    }
}
