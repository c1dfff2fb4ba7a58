using Nibble.Numerics;

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

    /// <summary>Scales that are tried for a channel that could saturate.</summary>
    private const int Steps = 8;

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

    /// <summary>
    /// Rounds a channel again if a pair of its codes could saturate, with the least squared error: between the scale that suits the weights, where codes of
    /// pairs are clipped, and the scale at which none needs to be.
    /// </summary>
    /// <param name="channel">The weights of an output channel.</param>
    /// <param name="orders">
    /// The orders in which kernels add them, as in <see cref="Guard(ReadOnlySpan{float}, IReadOnlyList{int[]}, float, out bool)"/>.
    /// </param>
    /// <param name="range">The codes to use.</param>
    /// <param name="scale">The scale that suits the weights. Receives that of the codes.</param>
    /// <param name="codes">The codes for the scale. Receives safe ones.</param>
    /// <returns>Whether the channel was rounded again.</returns>
    public static bool Round(ReadOnlySpan<float> channel, IReadOnlyList<int[]> orders, CodeRange range, ref float scale, Span<sbyte> codes)
    {
        var safe = Guard(channel, orders, scale, out var changed);
        if (!changed)
        {
            return false;
        }

        var (first, least) = (scale, double.PositiveInfinity);
        var tried = new sbyte[channel.Length];
        for (var step = 0; step <= Steps; step++)
        {
            var candidate = step == Steps ? safe : (float)(first * Math.Pow((double)safe / first, (double)step / Steps));
            Quantizer.Quantize(channel, new QuantizationParameters(candidate, 0), range, tried);
            Clip(tried, orders);
            var error = 0d;
            for (var i = 0; i < tried.Length; i++)
            {
                var difference = channel[i] - ((double)candidate * tried[i]);
                error += difference * difference;
            }

            if (error < least)
            {
                (scale, least) = (candidate, error);
                tried.CopyTo(codes);
            }
        }

        return true;
    }

    /// <summary>Lowers the codes of pairs that would saturate. Both of a pair lose as much, as far as their magnitudes allow.</summary>
    /// <param name="codes">The codes of an output channel.</param>
    /// <param name="orders">
    /// The orders in which kernels add them, as in <see cref="Guard(ReadOnlySpan{float}, IReadOnlyList{int[]}, float, out bool)"/>.
    /// </param>
    public static void Clip(Span<sbyte> codes, IReadOnlyList<int[]> orders)
    {
        ArgumentNullException.ThrowIfNull(orders);
        for (var i = 0; orders.Count == 0 && i + 1 < codes.Length; i += 2)
        {
            Clip(ref codes[i], ref codes[i + 1]);
        }

        // A code only becomes smaller, so a pair of one order stays safe while those of another are clipped.
        foreach (var order in orders)
        {
            for (var i = 0; i + 1 < order.Length; i += 2)
            {
                if (order[i] != Padding && order[i + 1] != Padding)
                {
                    Clip(ref codes[order[i]], ref codes[order[i + 1]]);
                }
            }
        }
    }

    private static void Clip(ref sbyte first, ref sbyte second)
    {
        if (IsSafe(first, second))
        {
            return;
        }

        // Codes of one sign, as opposite ones are safe. The smaller one cannot lose more than it has.
        var sign = first < 0 ? -1 : 1;
        var (a, b) = (Math.Abs((int)first), Math.Abs((int)second));
        var excess = a + b - MaxPairSum;
        var fromFirst = Math.Clamp((excess + (a >= b ? 1 : 0)) / 2, excess - Math.Min(b, excess), Math.Min(a, excess));
        (first, second) = ((sbyte)(sign * (a - fromFirst)), (sbyte)(sign * (b - (excess - fromFirst))));
    }

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
