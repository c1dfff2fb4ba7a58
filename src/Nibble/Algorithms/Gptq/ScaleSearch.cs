using Nibble.Numerics;
using Nibble.Numerics.Kernels;
using Nibble.Recipes;

namespace Nibble.Algorithms;

/// <summary>Chooses the scale and zero point of a group by least squared error, weighted or not.</summary>
internal static class ScaleSearch
{
    /// <summary>The parameters with the least error; of equally good shrunk ranges the widest.</summary>
    /// <param name="values">The group's weights, one row after another.</param>
    /// <param name="importance">What the squared error of each column counts; empty where all count the same.</param>
    /// <param name="full">The lowest to the highest weight.</param>
    /// <param name="scheme">The codes to use.</param>
    /// <param name="range">How the range is chosen: not min-max.</param>
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
