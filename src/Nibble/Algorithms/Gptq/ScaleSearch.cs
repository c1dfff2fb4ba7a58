using Nibble.Algorithms.ImportanceWeighted;
using Nibble.Kernels;
using Nibble.Numerics;
using Nibble.Recipes;

namespace Nibble.Algorithms.Gptq;

/// <summary>Chooses the scale and zero point of a group by least squared error, weighted or not.</summary>
internal static class ScaleSearch
{
    /// <summary>Shrink factors tried, as by round to nearest: 1.00, 0.99, ... 0.30.</summary>
    private const int ShrinkSteps = 70;

    private const double ShrinkStep = 0.01;

    /// <summary>The parameters with the least error; of equally good shrunk ranges the widest.</summary>
    /// <param name="values">The group's weights, one row after another.</param>
    /// <param name="importance">What the squared error of each column counts; empty where all count the same.</param>
    /// <param name="full">The lowest to the highest weight.</param>
    /// <param name="scheme">The codes to use.</param>
    /// <param name="range">How the range is chosen: not min-max.</param>
    public static QuantizationParameters Choose(ReadOnlySpan<float> values, ReadOnlySpan<float> importance, ValueRange full, QuantizationScheme scheme, WeightRange range)
    {
        if (range == WeightRange.Search)
        {
            return ParameterSearch.Search(values, Repeated(importance, values.Length), scheme);
        }

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

    /// <summary>One importance per weight, where the group spans rows.</summary>
    private static ReadOnlySpan<float> Repeated(ReadOnlySpan<float> importance, int count)
    {
        if (importance.IsEmpty || importance.Length == count)
        {
            return importance;
        }

        var repeated = new float[count];
        for (var start = 0; start < count; start += importance.Length)
        {
            importance.CopyTo(repeated.AsSpan(start));
        }

        return repeated;
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
            error += QuantizationKernels.Active.WeightedSquaredError(values[..importance.Length], importance, parameters, codes);
        }

        return error;
    }
}
