using Nibble.Numerics;

namespace Nibble.Algorithms;

/// <summary>Importance-weighted round to nearest: chooses ranges that keep the error low where the layer's inputs are large.</summary>
/// <remarks>
/// The error of a layer's output, over inputs x, is the quadratic form of the weights' errors with the Hessian E[x x^T] (Frantar et al.,
/// "GPTQ", 2022, equation 1). Its diagonal, the mean square of each input channel, is the importance of a column. The correlation between
/// inputs is ignored. llama.cpp's importance matrices hold the same numbers.
/// </remarks>
public static class ImportanceWeighted
{
    /// <summary>Quantizes a weight matrix.</summary>
    /// <remarks>
    /// <para>The scale and zero point of each group are searched for the least sum of <c>importance * (weight - real)^2</c>, which is never above
    /// that of the group's min-max range. If all columns of a group have importance zero, they count equally.</para>
    /// <para>Rows are processed in parallel. The result depends neither on the number of threads nor on the machine.</para>
    /// </remarks>
    /// <param name="weights">The weights, row by row: <paramref name="rows"/> x <paramref name="columns"/>, all finite.</param>
    /// <param name="rows">Output channels, at least 1.</param>
    /// <param name="columns">Input channels, at least 1.</param>
    /// <param name="scheme">The codes and which weights share a scale: per tensor, per channel or per group.</param>
    /// <param name="importance">The mean square of each input channel: <paramref name="columns"/> values, finite and not negative.</param>
    /// <exception cref="ArgumentException">The number of weights or of importances does not follow from the shape.</exception>
    /// <exception cref="NibbleException">
    /// A weight is not finite, an importance is negative or not finite, the granularity is per token, or a scale does not fit its stored precision.
    /// </exception>
    public static QuantizedTensor Quantize(ReadOnlySpan<float> weights, int rows, int columns, QuantizationScheme scheme, ReadOnlySpan<float> importance)
    {
        RequireImportance(importance, columns);
        // A per-tensor block has one importance per weight, other blocks one per column. Copied, because spans cannot enter the parallel loops.
        var weightsOfErrors = ParameterSearch.Repeat(importance, scheme?.Granularity is PerTensor ? importance.Length * rows : importance.Length);
        return BlockRounding.Quantize(weights, rows, columns, scheme!, block =>
            ParameterSearch.Search(block.Values, weightsOfErrors.AsSpan(block.FirstColumn, block.Values.Length), scheme!));
    }

    private static void RequireImportance(ReadOnlySpan<float> importance, int columns)
    {
        if (importance.Length != columns)
        {
            throw new ArgumentException($"{importance.Length} importances were given, expected one for each of {columns} columns.", nameof(importance));
        }

        for (var column = 0; column < columns; column++)
        {
            if (!float.IsFinite(importance[column]) || importance[column] < 0)
            {
                throw new NibbleException(
                    $"The importance of column {column} is {importance[column]}, expected a mean square, finite and not negative; the calibration inputs "
                    + $"overflow.");
            }
        }
    }
}
