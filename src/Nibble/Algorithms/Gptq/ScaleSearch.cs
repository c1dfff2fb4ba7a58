using Nibble.Numerics;
using Nibble.Numerics.Kernels;
using Nibble.Recipes;

namespace Nibble.Algorithms;

/// <summary>Chooses the scale and zero point of a group by least squared error, weighted or unweighted.</summary>
internal static class ScaleSearch
{
    /// <summary>The parameters with the least error; among equally good shrunk ranges, those of the widest.</summary>
    /// <param name="values">The group's weights, one row after another.</param>
    /// <param name="importance">The weight of each column's squared error; empty for equal weights.</param>
    /// <param name="full">The lowest to the highest weight.</param>
    /// <param name="scheme">The codes to use.</param>
    /// <param name="range">How the range is chosen. Must not be min-max.</param>
    public static QuantizationParameters Choose(
        ReadOnlySpan<float> values, ReadOnlySpan<float> importance, ValueRange full, QuantizationScheme scheme, WeightRange range)
    {
        if (range == WeightRange.Mse)
        {
            return ShrunkRange.Choose(full, scheme, new GroupError(values, importance, scheme.Codes));
        }

        var spansRows = importance.Length > 0 && importance.Length < values.Length;
        return ParameterSearch.Search(values, spansRows ? ParameterSearch.Repeat(importance, values.Length) : importance, scheme);
    }

    private readonly ref struct GroupError(ReadOnlySpan<float> values, ReadOnlySpan<float> importance, CodeRange codes) : IGroupError
    {
        private readonly ReadOnlySpan<float> values = values;
        private readonly ReadOnlySpan<float> importance = importance;

        public double Of(QuantizationParameters parameters)
        {
            if (importance.IsEmpty)
            {
                return QuantizationKernels.Active.SquaredError(values, parameters, codes);
            }

            var error = 0d;
            for (var rest = values; !rest.IsEmpty; rest = rest[importance.Length..])
            {
                error += QuantizationKernels.Active.WeightedSquaredError(rest[..importance.Length], importance, parameters, codes);
            }

            return error;
        }
    }
}
