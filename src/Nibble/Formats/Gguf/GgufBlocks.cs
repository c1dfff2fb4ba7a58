using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;
using Nibble.Files;
using Nibble.Formats.Gguf.Blocks;

namespace Nibble.Formats.Gguf;

/// <summary>Rounds values into the blocks of a type.</summary>
internal static class GgufBlocks
{
    /// <summary>The blocks that hold some values.</summary>
    /// <param name="type">A type of real numbers.</param>
    /// <param name="values">Finite values of whole blocks.</param>
    /// <exception cref="ArgumentException">The values are not whole blocks.</exception>
    public static byte[] Quantize(GgufType type, ReadOnlySpan<float> values)
    {
        if (values.Length % type.BlockSize() != 0)
        {
            throw new ArgumentException($"{values.Length} values are not whole blocks of {type}, which have {type.BlockSize()}.", nameof(values));
        }

        var blocks = new byte[values.Length / type.BlockSize() * type.BlockBytes()];
        BlockCodecs.For(type).Quantize(values, blocks);
        return blocks;
    }

    /// <summary>The largest magnitude that a type holds: its scales are binary16, like the values of F16. No model of use has such weights.</summary>
    public static float LargestOf(GgufType type) => type is GgufType.F32 or GgufType.BF16 ? float.MaxValue : (float)Half.MaxValue;

    /// <summary>The place of the first value that a type cannot hold, since it is not a number, infinite or too large; -1 where there is none.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static int FindFault(GgufType type, ReadOnlySpan<float> values)
    {
        // As integers without their signs, floats keep their order, and what is not a number is above all others.
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
