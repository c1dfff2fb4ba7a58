
namespace Nibble.Numerics.Kernels;

/// <summary>The kernel that works on one value at a time. It is the specification of the other kernels.</summary>
internal sealed class ScalarKernel : IQuantizationKernel
{
    public static readonly ScalarKernel Instance = new();

    public string Name => "scalar";

    public ValueStatistics Measure(ReadOnlySpan<float> values)
    {
        var min = float.PositiveInfinity;
        var max = float.NegativeInfinity;
        var nonFinite = 0;
        foreach (var value in values)
        {
            if (!float.IsFinite(value))
            {
                nonFinite++;
                continue;
            }

            min = MathF.Min(min, value);
            max = MathF.Max(max, value);
        }

        return ValueStatistics.Create(min, max, nonFinite);
    }

    public void Quantize(ReadOnlySpan<float> values, QuantizationParameters parameters, CodeRange codes, Span<sbyte> destination)
    {
        for (var i = 0; i < values.Length; i++)
        {
            destination[i] = ScalarQuantizer.Quantize(values[i], parameters, codes);
        }
    }

    public void Dequantize(ReadOnlySpan<sbyte> codes, QuantizationParameters parameters, Span<float> destination)
    {
        for (var i = 0; i < codes.Length; i++)
        {
            destination[i] = ScalarQuantizer.Dequantize(codes[i], parameters);
        }
    }

    public void FakeQuantize(ReadOnlySpan<float> values, QuantizationParameters parameters, CodeRange codes, Span<float> destination)
    {
        for (var i = 0; i < values.Length; i++)
        {
            destination[i] = ScalarQuantizer.FakeQuantize(values[i], parameters, codes);
        }
    }

    public void FakeQuantize(ReadOnlySpan<float> values, TrainingGrid grid, Span<float> destination)
    {
        for (var i = 0; i < values.Length; i++)
        {
            destination[i] = grid.FakeQuantize(values[i]);
        }
    }

    public GridGradient Backward(ReadOnlySpan<float> values, ReadOnlySpan<float> gradients, TrainingGrid grid, Span<float> destination)
    {
        var sums = default(GridGradientSums);
        sums.AddRest(values, gradients, 0, grid, destination);
        return sums.Total();
    }

    public double SquaredError(ReadOnlySpan<float> values, QuantizationParameters parameters, CodeRange codes)
    {
        var sums = default(LaneSums);
        sums.AddRest(values, 0, parameters, codes);
        return sums.Total();
    }

    public double WeightedSquaredError(ReadOnlySpan<float> values, ReadOnlySpan<float> importance, QuantizationParameters parameters, CodeRange codes)
    {
        var sums = default(LaneSums);
        sums.AddRest(values, importance, 0, parameters, codes);
        return sums.Total();
    }

    public void Pack(ReadOnlySpan<sbyte> codes, int bits, Span<byte> destination) => PackStream(codes, bits, destination);

    public void Unpack(ReadOnlySpan<byte> packed, int bits, Span<sbyte> codes) => UnpackStream(packed, bits, codes);

    /// <summary>Packs codes one by one. The other kernels use it for the remaining codes.</summary>
    internal static void PackStream(ReadOnlySpan<sbyte> codes, int bits, Span<byte> destination)
    {
        var mask = (1 << bits) - 1;
        var offset = 1 << (bits - 1);
        var pending = 0;
        var pendingBits = 0;
        var next = 0;
        foreach (var code in codes)
        {
            pending |= ((code + offset) & mask) << pendingBits;
            pendingBits += bits;
            if (pendingBits >= 8)
            {
                destination[next++] = (byte)pending;
                pending >>= 8;
                pendingBits -= 8;
            }
        }

        if (pendingBits > 0)
        {
            destination[next] = (byte)pending;
        }
    }

    /// <summary>Unpacks codes one by one. The other kernels use it for the remaining codes.</summary>
    internal static void UnpackStream(ReadOnlySpan<byte> packed, int bits, Span<sbyte> codes)
    {
        var mask = (1 << bits) - 1;
        var offset = 1 << (bits - 1);
        var pending = 0;
        var pendingBits = 0;
        var next = 0;
        for (var i = 0; i < codes.Length; i++)
        {
            if (pendingBits < bits)
            {
                pending |= packed[next++] << pendingBits;
                pendingBits += 8;
            }

            codes[i] = (sbyte)((pending & mask) - offset);
            pending >>= bits;
            pendingBits -= bits;
        }
    }
}
