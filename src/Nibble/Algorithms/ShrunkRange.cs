using Nibble.Numerics;
using Nibble.Recipes;

namespace Nibble.Algorithms;

/// <summary>The error of a group of weights for given parameters.</summary>
internal interface IGroupError
{
    /// <summary>The summed squared error, weighted or not.</summary>
    double Of(QuantizationParameters parameters);
}

/// <summary>The search of <see cref="WeightRange.Mse"/>: both ends of a range are multiplied by 1.00, 0.99, ... 0.30.</summary>
internal static class ShrunkRange
{
    private const int Steps = 70;
    private const double Step = 0.01;

    /// <summary>The parameters with the least error; among equals, those of the widest range.</summary>
    /// <param name="full">The lowest to the highest weight.</param>
    /// <param name="scheme">The codes to use.</param>
    /// <param name="error">The error for given parameters.</param>
    public static QuantizationParameters Choose<TError>(ValueRange full, QuantizationScheme scheme, TError error)
        where TError : struct, IGroupError, allows ref struct
    {
        var best = QuantizationParameters.FromRange(full, scheme);
        var least = error.Of(best);
        for (var step = 1; step <= Steps && least > 0; step++)
        {
            var factor = 1 - (step * Step);
            var candidate = QuantizationParameters.FromRange(new ValueRange((float)(full.Min * factor), (float)(full.Max * factor)), scheme);
            var found = error.Of(candidate);
            if (found < least)
            {
                (best, least) = (candidate, found);
            }
        }

        return best;
    }
}
