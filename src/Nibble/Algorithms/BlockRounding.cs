using Nibble.Numerics;
using Nibble.Numerics.Kernels;

namespace Nibble.Algorithms;

/// <summary>The common part of algorithms that choose a scale and a zero point for each block of weights and then round to the nearest code.</summary>
internal static class BlockRounding
{
    /// <summary>Quantizes a weight matrix. Rows are processed in parallel.</summary>
    /// <param name="weights">The weights, row by row: <paramref name="rows"/> x <paramref name="columns"/>, all finite.</param>
    /// <param name="rows">Output channels, at least 1.</param>
    /// <param name="columns">Input channels, at least 1.</param>
    /// <param name="scheme">The codes and which weights share a scale: per tensor, per channel or per group.</param>
    /// <param name="choose">Chooses the parameters of a block, on any thread. Must not throw.</param>
    /// <exception cref="ArgumentException">The number of weights does not follow from the shape.</exception>
    /// <exception cref="NibbleException">A weight is not finite, the granularity is per token, or the min-max scale does not fit its stored
    /// precision.</exception>
    public static unsafe QuantizedTensor Quantize(
        ReadOnlySpan<float> weights, int rows, int columns, QuantizationScheme scheme, Func<WeightBlock, QuantizationParameters> choose)
    {
        RequireMatrix(weights, rows, columns, scheme);
        var groups = QuantizedTensor.GroupCount(rows, columns, scheme.Granularity);
        var result = new QuantizedTensor(rows, columns, scheme, new sbyte[weights.Length], new float[groups], new sbyte[scheme.Symmetric ? 0 : groups]);
        fixed (float* pinned = weights)
        {
            // Spans cannot enter the parallel loops. The matrix stays pinned until they end.
            var matrix = new WeightBlock(pinned, rows, 0, columns, default);
            var rowRanges = MeasureRows(matrix);
            if (scheme.Granularity is PerTensor)
            {
                var full = new ValueRange(rowRanges.Min(row => row.Min), rowRanges.Max(row => row.Max));
                RequireStorableScale(full, scheme, "The tensor");
                SetParameters(result, 0, choose(new WeightBlock(pinned, rows, 0, columns, full)));
            }
            else
            {
                // No group of a row has a larger scale than the row, and here the message can name the row.
                for (var row = 0; row < rows; row++)
                {
                    RequireStorableScale(rowRanges[row], scheme, $"Row {row}");
                }
            }

            Parallel.For(0, rows, row => QuantizeRow(matrix, row, result, choose));
        }

        return result;
    }

    private static void RequireMatrix(ReadOnlySpan<float> weights, int rows, int columns, QuantizationScheme scheme)
    {
        ArgumentNullException.ThrowIfNull(scheme);
        ArgumentOutOfRangeException.ThrowIfLessThan(rows, 1);
        ArgumentOutOfRangeException.ThrowIfLessThan(columns, 1);
        if (weights.Length != (long)rows * columns)
        {
            throw new ArgumentException($"{weights.Length} weights were given, expected {rows} x {columns}.", nameof(weights));
        }

        if (scheme.Granularity is PerToken)
        {
            throw new NibbleException(
                $"Weights cannot be quantized per token, only activations can; give the scheme \"{scheme}\" the granularity tensor, channel or group.");
        }
    }

    /// <summary>The range of each row. Throws if a weight is not finite.</summary>
    private static ValueRange[] MeasureRows(WeightBlock matrix)
    {
        // Chosen before the loop, which would wrap the exception about a missing kernel.
        var kernel = QuantizationKernels.Active;
        var statistics = new ValueStatistics[matrix.Rows];
        Parallel.For(0, matrix.Rows, row => statistics[row] = kernel.Measure(matrix.Row(row)));
        var bad = Array.FindIndex(statistics, row => row.NonFiniteCount > 0);
        if (bad >= 0)
        {
            var weights = matrix.Row(bad);
            var column = 0;
            while (float.IsFinite(weights[column]))
            {
                column++;
            }

            throw new NibbleException(
                $"The weight at row {bad}, column {column} is {weights[column]}, expected finite weights; repair the checkpoint or keep this layer in float.");
        }

        return Array.ConvertAll(statistics, row => row.Range);
    }

    private static void RequireStorableScale(ValueRange range, QuantizationScheme scheme, string where)
    {
        try
        {
            QuantizationParameters.FromRange(range, scheme);
        }
        catch (OverflowException exception)
        {
            throw new NibbleException($"{where} has weights from {range.Min} to {range.Max}. {exception.Message}", exception);
        }
    }

    private static void QuantizeRow(WeightBlock matrix, int row, QuantizedTensor result, Func<WeightBlock, QuantizationParameters> choose)
    {
        var kernel = QuantizationKernels.Active;
        var scheme = result.Scheme;
        var weights = matrix.Row(row);
        var codes = result.Codes.AsSpan(row * result.Columns, result.Columns);
        for (var group = 0; group < result.GroupsPerRow; group++)
        {
            var start = group * result.GroupLength;
            var values = weights.Slice(start, Math.Min(result.GroupLength, result.Columns - start));
            if (scheme.Granularity is not PerTensor)
            {
                var block = matrix.Part(row, start, values.Length, kernel.Measure(values).Range);
                SetParameters(result, (row * result.GroupsPerRow) + group, choose(block));
            }

            Quantize(kernel, values, result.Parameters(row, group), scheme, codes.Slice(start, values.Length));
        }
    }

    /// <summary>The codes of values that share their parameters.</summary>
    public static void Quantize(
        IQuantizationKernel kernel, ReadOnlySpan<float> values, QuantizationParameters parameters, QuantizationScheme scheme, Span<sbyte> codes)
    {
        if (scheme.Format != CodeFormat.Stretched)
        {
            kernel.Quantize(values, parameters, scheme.Codes, codes);
            return;
        }

        for (var i = 0; i < values.Length; i++)
        {
            codes[i] = ScalarQuantizer.QuantizeStretched(values[i], parameters.Scale, scheme.Codes);
        }
    }

    private static void SetParameters(QuantizedTensor result, int index, QuantizationParameters parameters)
    {
        result.Scales[index] = parameters.Scale;
        if (!result.Scheme.Symmetric)
        {
            result.ZeroPoints[index] = (sbyte)parameters.ZeroPoint;
        }
    }
}
