namespace Nibble.Onnx.Quantization;

/// <summary>Chooses scales of weights so that products of unsigned and signed bytes do not saturate on any processor.</summary>
/// <remarks>
/// x64 processors without VNNI multiply bytes by <c>vpmaddubsw</c>, which adds the products of two neighbouring pairs in 16 bits and saturates. The left factor
/// is at most 255, and <c>255 * 128</c> is the largest multiple of 255 that fits. Two codes of opposite signs never exceed it, so a pair is safe if its codes
/// have different signs or <c>|w1 + w2| &lt;= 128</c>. Sums of pairs are added in 32 bits. Source: ONNX Runtime, <c>onnxruntime/core/mlas/lib</c>, kernels of
/// <c>U8S8</c>.
/// </remarks>
internal static class SaturationGuard
{
    /// <summary>The largest sum of two codes of a pair, as a magnitude.</summary>
    public const int MaxPairSum = 128;

    /// <summary>A place in an order that holds no weight: the kernel multiplies by zero there.</summary>
    public const int Padding = -1;

    // A code of at most this magnitude is safe next to any other that is at most this.
    private const int SafeCode = MaxPairSum / 2;

    /// <summary>Whether no pair of codes saturates.</summary>
    /// <param name="codes">The codes of an output channel, in the order in which the kernel adds them: 0 and 1, 2 and 3, and so on.</param>
    public static bool IsSafe(ReadOnlySpan<sbyte> codes)
    {
        for (var i = 0; i + 1 < codes.Length; i += 2)
        {
            if (!IsSafe(codes[i], codes[i + 1]))
            {
                return false;
            }
        }

        return true;
    }

    /// <summary>The scale to quantize an output channel with.</summary>
    /// <param name="channel">Its weights, in the order in which the kernel adds them.</param>
    /// <param name="scale">The scale that suits the weights, positive.</param>
    /// <param name="changed">Whether the result is another scale.</param>
    /// <returns><paramref name="scale"/> if its codes are safe. Otherwise the smallest larger scale whose codes are.</returns>
    public static float Guard(ReadOnlySpan<float> channel, float scale, out bool changed) => Guard(channel, [], scale, out changed);

    /// <summary>The scale to quantize an output channel with, for kernels that add in different orders.</summary>
    /// <param name="channel">Its weights.</param>
    /// <param name="orders">Each order as indices into <paramref name="channel"/>, with <see cref="Padding"/> where the kernel multiplies by zero. If empty,
    /// the weights are in the only order.</param>
    /// <param name="scale">The scale that suits the weights, positive.</param>
    /// <param name="changed">Whether the result is another scale.</param>
    /// <returns><paramref name="scale"/> if its codes are safe in all orders. Otherwise the smallest larger scale whose codes are.</returns>
    public static float Guard(ReadOnlySpan<float> channel, IReadOnlyList<int[]> orders, float scale, out bool changed)
    {
        ArgumentNullException.ThrowIfNull(orders);
        var offending = new List<(float First, float Second)>();
        for (var i = 0; orders.Count == 0 && i + 1 < channel.Length; i += 2)
        {
            Collect(channel[i], channel[i + 1], scale, offending);
        }

        foreach (var order in orders)
        {
            for (var i = 0; i + 1 < order.Length; i += 2)
            {
                if (order[i] != Padding && order[i + 1] != Padding)
                {
                    Collect(channel[order[i]], channel[order[i + 1]], scale, offending);
                }
            }
        }

        changed = offending.Count > 0;
        return changed ? Raise(offending, scale) : scale;
    }

    /// <summary>The smallest scale, not below a given one, whose codes are safe.</summary>
    /// <param name="weights">The weights of an output channel, in the order in which the kernel adds them.</param>
    /// <param name="scale">The scale that suits the weights, positive.</param>
    public static float SafeScale(ReadOnlySpan<float> weights, float scale) => Guard(weights, scale, out _);

    private static void Collect(float first, float second, float scale, List<(float First, float Second)> offending)
    {
        if (!IsSafe(Code(first, scale), Code(second, scale)))
        {
            offending.Add((first, second));
        }
    }

    /// <summary>Halves the interval between an unsafe and a safe scale until they are neighbours.</summary>
    /// <remarks>A larger scale never gives a larger code. So a safe pair stays safe, and there is one border.</remarks>
    private static float Raise(List<(float First, float Second)> offending, float scale)
    {
        var largest = offending.Max(pair => Math.Max(Math.Abs(pair.First), Math.Abs(pair.Second)));
        var (below, above) = (BitConverter.SingleToInt32Bits(scale), BitConverter.SingleToInt32Bits(largest / SafeCode));
        while (above - below > 1)
        {
            var middle = below + ((above - below) / 2);
            var candidate = BitConverter.Int32BitsToSingle(middle);
            if (offending.TrueForAll(pair => IsSafe(Code(pair.First, candidate), Code(pair.Second, candidate))))
            {
                above = middle;
            }
            else
            {
                below = middle;
            }
        }

        return BitConverter.Int32BitsToSingle(above);
    }

    private static int Code(float weight, float scale) => (int)Math.Clamp(MathF.Round(weight / scale), sbyte.MinValue, sbyte.MaxValue);

    private static bool IsSafe(int first, int second) => first < 0 != second < 0 || Math.Abs(first + second) <= MaxPairSum;
}
