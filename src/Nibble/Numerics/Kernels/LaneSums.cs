using System.Runtime.CompilerServices;

namespace Nibble.Numerics.Kernels;

/// <summary>Eight running sums of squares. Value i goes to sum i mod 8, and the sums are added in one fixed order.</summary>
/// <remarks>
/// Floating-point addition depends on its order, and a search for the least error must choose the same range on every machine. Vectors of
/// 128, 256 and 512 bits can all keep eight sums. A difference is rounded to binary32, and its square is exact in binary64,
/// so fused and separate multiply-adds agree. The sum of n squares is within <c>(n / 8 + 3) * 2^-53</c>, relative, of the exact sum.
/// </remarks>
[InlineArray(Count)]
internal struct LaneSums
{
    /// <summary>The number of sums.</summary>
    public const int Count = 8;

    private double first;

    /// <summary>Adds the remaining values after <paramref name="done"/> values, a multiple of 8, are summed.</summary>
    public void AddRest(ReadOnlySpan<float> values, int done, QuantizationParameters parameters, CodeRange codes)
    {
        for (var i = done; i < values.Length; i++)
        {
            double difference = values[i] - ScalarQuantizer.FakeQuantize(values[i], parameters, codes);
            this[i % Count] += difference * difference;
        }
    }

    /// <summary>Adds the remaining values, each square multiplied by the value's importance.</summary>
    // The square is exact. Its product is rounded once before it is added, so no kernel may fuse the two.
    public void AddRest(ReadOnlySpan<float> values, ReadOnlySpan<float> importance, int done, QuantizationParameters parameters, CodeRange codes)
    {
        for (var i = done; i < values.Length; i++)
        {
            double difference = values[i] - ScalarQuantizer.FakeQuantize(values[i], parameters, codes);
            this[i % Count] += importance[i] * (difference * difference);
        }
    }

    /// <summary>The sum of the sums.</summary>
    public readonly double Total() => ((this[0] + this[4]) + (this[2] + this[6])) + ((this[1] + this[5]) + (this[3] + this[7]));
}
