using Nibble.Numerics;

namespace Nibble.Observers;

/// <summary>The clipped range with the least Kullback-Leibler divergence between the original and the quantized distribution.</summary>
/// <remarks>
/// <para>Szymon Migacz, "8-bit Inference with TensorRT", GTC 2017. Instead of equal slices of the histogram, this uses the quantizer
/// itself, so that it works for any bit width, for one-sided values and for zero points. For each clipped range, P is the
/// histogram with everything outside added to the outermost bins inside. Q has only the values inside, with the values of one code spread
/// evenly over the non-empty bins of that code. The loss is <c>sum P ln(P / Q)</c>, both scaled to sum 1.</para>
/// <para>Zeros are excluded: they are exact in every range, and after a ReLU they would outweigh all other values. The ends are tried at 57
/// factors each, from 1 down to 1/128 (eight to an octave): together in symmetric schemes, independently in asymmetric ones.</para>
/// </remarks>
internal sealed class EntropyObserver : HistogramObserver
{
    /// <inheritdoc/>
    public override string ToString() => "an entropy observer";

    private protected override ValueRange Range(StreamingHistogram seen, QuantizationScheme scheme)
    {
        var bins = seen.Bins();
        return ClippedRanges.Least(seen.Range, scheme, (range, parameters) => Divergence(bins, range, parameters, scheme.Codes));
    }

    /// <summary>The divergence of a clipped range, in nats; infinite if no bin's centre is inside.</summary>
    internal static double Divergence(ReadOnlySpan<HistogramBin> bins, ValueRange range, QuantizationParameters parameters, CodeRange codes)
    {
        var total = 0L;
        var (first, last) = (bins.Length, -1);
        for (var i = 0; i < bins.Length; i++)
        {
            total += bins[i].Count;
            if (Centre(bins[i]) is var centre && centre >= range.Min && centre <= range.Max)
            {
                first = Math.Min(first, i);
                last = i;
            }
        }

        if (last < first)
        {
            return double.PositiveInfinity;
        }

        var (below, inside) = (Sum(bins[..first]), Sum(bins[first..(last + 1)]));
        var above = total - below - inside;
        var divergence = 0d;
        for (var start = first; start <= last;)
        {
            var code = Code(bins[start]);
            var (end, mass) = (start, 0L);
            for (; end <= last && Code(bins[end]) == code; end++)
            {
                mass += bins[end].Count;
            }

            var q = (double)mass / (end - start) / inside;
            for (var i = start; i < end; i++)
            {
                var p = (double)(bins[i].Count + (i == first ? below : 0) + (i == last ? above : 0)) / total;
                divergence += p * Math.Log(p / q);
            }

            start = end;
        }

        return divergence;

        int Code(HistogramBin bin) => ScalarQuantizer.Quantize((float)Centre(bin), parameters, codes);
    }

    private static double Centre(HistogramBin bin) => (bin.Low + bin.High) / 2;

    private static long Sum(ReadOnlySpan<HistogramBin> bins)
    {
        var sum = 0L;
        foreach (var bin in bins)
        {
            sum += bin.Count;
        }

        return sum;
    }
}
