using System.Runtime.Intrinsics;
using Nibble.Kernels;
using Nibble.Numerics;

namespace Nibble.Algorithms.Gptq;

/// <summary>Chooses the scale and zero point of a group by least squared error, weighted or not.</summary>
internal static class ScaleSearch
{
    /// <summary>Shrink factors tried, as by round to nearest: 1.00, 0.99, ... 0.30.</summary>
    private const int ShrinkSteps = 70;

    private const double ShrinkStep = 0.01;

    /// <summary>The parameters of the shrunk range with the least error; of equals the widest.</summary>
    /// <param name="values">The group's weights, one row after another.</param>
    /// <param name="importance">What the squared error of each column counts; empty where all count the same.</param>
    /// <param name="full">The lowest to the highest weight.</param>
    /// <param name="scheme">The codes to use.</param>
    public static QuantizationParameters Choose(ReadOnlySpan<float> values, ReadOnlySpan<float> importance, ValueRange full, QuantizationScheme scheme)
    {
        var best = QuantizationParameters.FromRange(full, scheme);
        var least = Error(values, importance, best, scheme.Codes);
        for (var step = 1; step <= ShrinkSteps && least > 0; step++)
        {
            var factor = 1 - (step * ShrinkStep);
            var candidate = QuantizationParameters.FromRange(new ValueRange((float)(full.Min * factor), (float)(full.Max * factor)), scheme);
            var error = Error(values, importance, candidate, scheme.Codes);
            if (error < least)
            {
                (best, least) = (candidate, error);
            }
        }

        return best;
    }

    private static double Error(ReadOnlySpan<float> values, ReadOnlySpan<float> importance, QuantizationParameters parameters, CodeRange codes)
    {
        if (importance.IsEmpty)
        {
            return QuantizationKernels.Active.SquaredError(values, parameters, codes);
        }

        var error = 0d;
        for (; !values.IsEmpty; values = values[importance.Length..])
        {
            error += WeightedError(values[..importance.Length], importance, parameters, codes);
        }

        return error;
    }

    /// <summary>The weighted sum of squares, in one fixed order: value i goes to sum i mod 4.</summary>
    private static double WeightedError(ReadOnlySpan<float> values, ReadOnlySpan<float> importance, QuantizationParameters parameters, CodeRange codes)
    {
        Span<float> differences = values.Length <= 1024 ? stackalloc float[values.Length] : new float[values.Length];
        QuantizationKernels.Active.FakeQuantize(values, parameters, codes, differences);
        var sums = Vector256<double>.Zero;
        var done = 0;
        for (; done <= values.Length - 4; done += 4)
        {
            // Squares of widened differences are exact; the product with the weight rounds once, on every machine.
            var difference = Vector256.WidenLower((Vector128.Create(values[done..]) - Vector128.Create<float>(differences[done..])).ToVector256());
            sums += Vector256.WidenLower(Vector128.Create(importance[done..]).ToVector256()) * (difference * difference);
        }

        var rest = 0d;
        for (; done < values.Length; done++)
        {
            double difference = values[done] - differences[done];
            rest += importance[done] * (difference * difference);
        }

        return (sums[0] + sums[2]) + (sums[1] + sums[3]) + rest;
    }
}
