namespace Nibble.Numerics;

/// <summary>4-bit NormalFloat: values divided by the greatest magnitude of their block, on 16 levels that are quantiles of the normal distribution (QLoRA,
/// Dettmers et al. 2023, section 3 and appendix E).</summary>
/// <remarks>
/// A block is 64 neighbouring values. Its greatest magnitude is itself quantized (double quantization): the mean of all magnitudes is subtracted, and the rest
/// becomes 8-bit codes with one scale per 256 of them. The paper uses an 8-bit floating-point type for these codes. Here they are symmetric integers. Codes of
/// values are chosen with the stored magnitude. A value takes 4 + 8/64 + 32/(64 * 256) bits, 4.127.
/// </remarks>
internal sealed class NormalFloatTensor
{
    /// <summary>Values that share a magnitude.</summary>
    public const int BlockSize = 64;

    /// <summary>Magnitudes that share a scale.</summary>
    public const int MagnitudeBlockSize = 256;

    private readonly byte[] codes;
    private readonly sbyte[] magnitudes;
    private readonly float[] magnitudeScales;
    private readonly float magnitudeMean;

    private NormalFloatTensor(int count, byte[] codes, sbyte[] magnitudes, float[] magnitudeScales, float magnitudeMean)
    {
        Count = count;
        this.codes = codes;
        this.magnitudes = magnitudes;
        this.magnitudeScales = magnitudeScales;
        this.magnitudeMean = magnitudeMean;
    }

    /// <summary>The number of values.</summary>
    public int Count { get; }

    /// <summary>Bytes that codes, magnitudes and their scales take.</summary>
    public long Bytes => codes.Length + magnitudes.Length + ((long)magnitudeScales.Length * sizeof(float)) + sizeof(float);

    /// <summary>Quantizes values.</summary>
    /// <param name="values">Finite values, at least one. The last block may be shorter.</param>
    /// <exception cref="ArgumentException">There is no value, or a value is not finite.</exception>
    public static NormalFloatTensor Quantize(ReadOnlySpan<float> values)
    {
        if (values.IsEmpty)
        {
            throw new ArgumentException("There are no values to quantize.", nameof(values));
        }

        var exact = new float[(values.Length + BlockSize - 1) / BlockSize];
        for (var block = 0; block < exact.Length; block++)
        {
            foreach (var value in Block(values, block))
            {
                if (!float.IsFinite(value))
                {
                    throw new ArgumentException($"Values must be finite, found {value}.", nameof(values));
                }

                exact[block] = Math.Max(exact[block], Math.Abs(value));
            }
        }

        var (magnitudes, scales, mean) = QuantizeMagnitudes(exact);
        var tensor = new NormalFloatTensor(values.Length, new byte[(values.Length + 1) / 2], magnitudes, scales, mean);
        for (var block = 0; block < exact.Length; block++)
        {
            var magnitude = tensor.Magnitude(block);
            var offset = block * BlockSize;
            foreach (var value in Block(values, block))
            {
                tensor.codes[offset / 2] |= (byte)(NormalFloat.Encode(magnitude == 0 ? 0 : value / magnitude) << (4 * (offset % 2)));
                offset++;
            }
        }

        return tensor;
    }

    /// <summary>Writes the values of the codes.</summary>
    /// <param name="destination">Receives <see cref="Count"/> values.</param>
    /// <exception cref="ArgumentException">The destination has another length.</exception>
    public void Dequantize(Span<float> destination)
    {
        if (destination.Length != Count)
        {
            throw new ArgumentException($"The destination has {destination.Length} values, expected {Count}.", nameof(destination));
        }

        Span<float> levels = stackalloc float[NormalFloat.Levels.Count];
        for (var block = 0; block < magnitudes.Length; block++)
        {
            var magnitude = Magnitude(block);
            for (var level = 0; level < levels.Length; level++)
            {
                levels[level] = NormalFloat.Levels[level] * magnitude;
            }

            // A block starts on a whole byte, since its size is even.
            var values = destination.Slice(block * BlockSize, Math.Min(BlockSize, Count - (block * BlockSize)));
            var packed = codes.AsSpan(block * BlockSize / 2, (values.Length + 1) / 2);
            for (var i = 0; i < values.Length; i++)
            {
                values[i] = levels[(packed[i / 2] >> (4 * (i % 2))) & 15];
            }
        }
    }

    private static ReadOnlySpan<float> Block(ReadOnlySpan<float> values, int block) =>
        values.Slice(block * BlockSize, Math.Min(BlockSize, values.Length - (block * BlockSize)));

    private static (sbyte[] Codes, float[] Scales, float Mean) QuantizeMagnitudes(float[] exact)
    {
        var mean = 0d;
        foreach (var magnitude in exact)
        {
            mean += magnitude / (double)exact.Length;
        }

        var codes = new sbyte[exact.Length];
        var scales = new float[(exact.Length + MagnitudeBlockSize - 1) / MagnitudeBlockSize];
        for (var first = 0; first < exact.Length; first += MagnitudeBlockSize)
        {
            var block = exact.AsSpan(first, Math.Min(MagnitudeBlockSize, exact.Length - first));
            var reach = 0f;
            foreach (var magnitude in block)
            {
                reach = Math.Max(reach, Math.Abs(magnitude - (float)mean));
            }

            var scale = reach / sbyte.MaxValue;
            scales[first / MagnitudeBlockSize] = scale;
            for (var i = 0; scale > 0 && i < block.Length; i++)
            {
                codes[first + i] = (sbyte)Math.Clamp(MathF.Round((block[i] - (float)mean) / scale), -sbyte.MaxValue, sbyte.MaxValue);
            }
        }

        return (codes, scales, (float)mean);
    }

    // Rounding can move the magnitude of a block of small values just below zero.
    private float Magnitude(int block) => Math.Max(0, magnitudeMean + (magnitudeScales[block / MagnitudeBlockSize] * magnitudes[block]));
}

/// <summary>The levels of 4-bit NormalFloat.</summary>
internal static class NormalFloat
{
    /// <summary>The code of zero.</summary>
    public const int ZeroCode = 7;

    /// <summary>Probability of the outermost quantiles: the mean of 1 - 1/30 and 1 - 1/32, so that neither tail is infinite (appendix E).</summary>
    private const double Outermost = 1 - (((1d / 30) + (1d / 32)) / 2);

    private static readonly float[] AllLevels = CreateLevels();
    private static readonly float[] Boundaries = [.. AllLevels.Zip(AllLevels.Skip(1), (low, high) => (low + high) / 2)];

    /// <summary>The values of the codes 0 to 15, from -1 to 1; code 7 is zero.</summary>
    public static IReadOnlyList<float> Levels => AllLevels;

    /// <summary>The code of the level nearest to a value; the lower one of two that are equally near.</summary>
    public static int Encode(float value)
    {
        var code = 0;
        for (var half = 8; half > 0; half /= 2)
        {
            if (value > Boundaries[code + half - 1])
            {
                code += half;
            }
        }

        return code;
    }

    /// <summary>Eight quantiles above zero and seven below, evenly spaced in probability, with zero between them, all divided by the greatest.</summary>
    private static float[] CreateLevels()
    {
        var greatest = Quantile(Outermost);
        var levels = new float[16];
        for (var i = 0; i < 7; i++)
        {
            levels[i] = (float)(-Quantile(Outermost - (i * (Outermost - 0.5) / 7)) / greatest);
        }

        for (var i = 0; i < 8; i++)
        {
            levels[15 - i] = (float)(Quantile(Outermost - (i * (Outermost - 0.5) / 8)) / greatest);
        }

        return levels;
    }

    /// <summary>The quantile of the standard normal distribution at a probability from 0.5 to below 1, by Newton's method.</summary>
    private static double Quantile(double probability)
    {
        var x = 0d;
        for (var i = 0; i < 50; i++)
        {
            var density = Math.Exp(-x * x / 2) / Math.Sqrt(2 * Math.PI);

            // The series of the distribution function: 1/2 + density * (x + x^3/3 + x^5/(3*5) + ...).
            var (sum, term) = (0d, x);
            for (var n = 3; sum + term != sum; n += 2)
            {
                sum += term;
                term *= x * x / n;
            }

            x -= (0.5 + (density * sum) - probability) / density;
        }

        return x;
    }
}
