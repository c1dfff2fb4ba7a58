using Nibble.Kernels;
using Nibble.Numerics;
using Nibble.Recipes;

namespace Nibble.Algorithms.RoundToNearest;

/// <summary>Round to nearest: each weight becomes the nearest code, with no look at data. The base line of the other algorithms.</summary>
public static class RoundToNearest
{
    /// <summary>Shrink factors tried by <see cref="WeightRange.Mse"/>: 1.00, 0.99, ... 0.30.</summary>
    private const int ShrinkSteps = 70;

    private const double ShrinkStep = 0.01;

    /// <summary>Quantizes a weight matrix.</summary>
    /// <remarks>
    /// <para>The range of a group is its lowest to its highest weight. With <see cref="WeightRange.Mse"/> both ends are multiplied by
    /// 1.00, 0.99, ... 0.30, and the factor whose codes have the least summed squared error is kept, the largest of equals.</para>
    /// <para>Rows are worked on in parallel; the result does not depend on how many threads there are, nor on the machine.</para>
    /// </remarks>
    /// <param name="weights">The weights, row by row: <paramref name="rows"/> x <paramref name="columns"/>, all finite.</param>
    /// <param name="rows">Output channels, at least 1.</param>
    /// <param name="columns">Input channels, at least 1.</param>
    /// <param name="scheme">The codes and which weights share a scale: per tensor, per channel or per group.</param>
    /// <param name="range">How the range of a group is chosen.</param>
    /// <exception cref="ArgumentException">The number of weights does not follow from the shape.</exception>
    /// <exception cref="NibbleException">A weight is not finite, the granularity is per token, or a scale does not fit the precision it is stored in.</exception>
    public static unsafe QuantizedTensor Quantize(
        ReadOnlySpan<float> weights, int rows, int columns, QuantizationScheme scheme, WeightRange range = WeightRange.MinMax)
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
            throw new NibbleException($"Weights cannot be quantized per token, which is for activations; give the scheme \"{scheme}\" the granularity tensor, channel or group.");
        }

        var groups = QuantizedTensor.GroupCount(rows, columns, scheme.Granularity);
        var result = new QuantizedTensor(rows, columns, scheme, new sbyte[weights.Length], new float[groups], new sbyte[scheme.Symmetric ? 0 : groups]);
        fixed (float* pinned = weights)
        {
            // Spans cannot enter the parallel loops; the matrix stays pinned until they end.
            var matrix = new Matrix(pinned, columns);
            var rowRanges = MeasureRows(matrix, rows);
            if (scheme.Granularity is PerTensor)
            {
                var full = new ValueRange(rowRanges.Min(row => row.Min), rowRanges.Max(row => row.Max));
                RequireStorableScale(full, scheme, "The tensor");
                SetParameters(result, 0, ChooseParameters(full, scheme, range, new Block(matrix, 0, rows, 0, columns)));
            }
            else
            {
                // No group of a row has a larger scale than the row; here the message can name it.
                for (var row = 0; row < rows; row++)
                {
                    RequireStorableScale(rowRanges[row], scheme, $"Row {row}");
                }
            }

            Parallel.For(0, rows, row => QuantizeRow(matrix, row, result, range));
        }

        return result;
    }

    /// <summary>Quantizes a weight matrix with scales and zero points that are already known, such as learned ones.</summary>
    /// <param name="weights">The weights, row by row: <paramref name="rows"/> x <paramref name="columns"/>.</param>
    /// <param name="rows">Output channels, at least 1.</param>
    /// <param name="columns">Input channels, at least 1.</param>
    /// <param name="scheme">The codes and which weights share a scale.</param>
    /// <param name="scales">One scale per group, row by row; kept.</param>
    /// <param name="zeroPoints">One zero point per group, row by row; empty in symmetric schemes; kept.</param>
    /// <exception cref="ArgumentException">A length does not follow from the shape and the scheme.</exception>
    public static QuantizedTensor QuantizeWith(ReadOnlySpan<float> weights, int rows, int columns, QuantizationScheme scheme, float[] scales, sbyte[] zeroPoints)
    {
        var result = new QuantizedTensor(rows, columns, scheme, new sbyte[weights.Length], scales, zeroPoints);
        var kernel = QuantizationKernels.Active;
        for (var row = 0; row < rows; row++)
        {
            for (var group = 0; group < result.GroupsPerRow; group++)
            {
                var column = group * result.GroupLength;
                var start = (row * columns) + column;
                var length = Math.Min(result.GroupLength, columns - column);
                kernel.Quantize(weights.Slice(start, length), result.Parameters(row, group), scheme.Codes, result.Codes.AsSpan(start, length));
            }
        }

        return result;
    }

    /// <summary>The range of each row, all of whose weights are finite.</summary>
    private static ValueRange[] MeasureRows(Matrix matrix, int rows)
    {
        // Chosen before the loop, which would wrap the complaint about a kernel that is not there.
        var kernel = QuantizationKernels.Active;
        var statistics = new ValueStatistics[rows];
        Parallel.For(0, rows, row => statistics[row] = kernel.Measure(matrix.Row(row)));
        var bad = Array.FindIndex(statistics, row => row.NonFiniteCount > 0);
        if (bad >= 0)
        {
            var weights = matrix.Row(bad);
            var column = 0;
            while (float.IsFinite(weights[column]))
            {
                column++;
            }

            throw new NibbleException($"The weight at row {bad}, column {column} is {weights[column]}, expected finite weights; repair the checkpoint or keep this layer in float.");
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

    private static void QuantizeRow(Matrix matrix, int row, QuantizedTensor result, WeightRange range)
    {
        var kernel = QuantizationKernels.Active;
        var scheme = result.Scheme;
        var weights = matrix.Row(row);
        var codes = result.Codes.AsSpan(row * result.Columns, result.Columns);
        for (var group = 0; group < result.GroupsPerRow; group++)
        {
            var start = group * result.GroupLength;
            var length = Math.Min(result.GroupLength, result.Columns - start);
            if (scheme.Granularity is not PerTensor)
            {
                var full = kernel.Measure(weights.Slice(start, length)).Range;
                SetParameters(result, (row * result.GroupsPerRow) + group, ChooseParameters(full, scheme, range, new Block(matrix, row, 1, start, length)));
            }

            kernel.Quantize(weights.Slice(start, length), result.Parameters(row, group), scheme.Codes, codes.Slice(start, length));
        }
    }

    private static QuantizationParameters ChooseParameters(ValueRange full, QuantizationScheme scheme, WeightRange range, Block block)
    {
        var best = QuantizationParameters.FromRange(full, scheme);
        if (range == WeightRange.MinMax)
        {
            return best;
        }

        var least = block.SquaredError(best, scheme.Codes);
        for (var step = 1; step <= ShrinkSteps && least > 0; step++)
        {
            var factor = 1 - (step * ShrinkStep);
            var candidate = QuantizationParameters.FromRange(new ValueRange((float)(full.Min * factor), (float)(full.Max * factor)), scheme);
            var error = block.SquaredError(candidate, scheme.Codes);
            if (error < least)
            {
                (best, least) = (candidate, error);
            }
        }

        return best;
    }

    private static void SetParameters(QuantizedTensor result, int index, QuantizationParameters parameters)
    {
        result.Scales[index] = parameters.Scale;
        if (!result.Scheme.Symmetric)
        {
            result.ZeroPoints[index] = (sbyte)parameters.ZeroPoint;
        }
    }

    /// <summary>A pinned matrix.</summary>
    private readonly unsafe struct Matrix(float* start, int columns)
    {
        public ReadOnlySpan<float> Row(int row) => new(start + ((long)row * columns), columns);
    }

    /// <summary>The weights that share parameters: a part of one row, or all of all rows.</summary>
    private readonly record struct Block(Matrix Matrix, int Row, int Rows, int Column, int Columns)
    {
        public double SquaredError(QuantizationParameters parameters, CodeRange codes) =>
            Rows == 1 ? RowError(Row, parameters, codes) : RowErrors(parameters, codes).Sum();

        // Summed in the rows' order, whichever thread was first. Apart from the above, which must not pay for the closure.
        private double[] RowErrors(QuantizationParameters parameters, CodeRange codes)
        {
            var block = this;
            var errors = new double[Rows];
            Parallel.For(0, Rows, i => errors[i] = block.RowError(block.Row + i, parameters, codes));
            return errors;
        }

        private double RowError(int row, QuantizationParameters parameters, CodeRange codes) =>
            QuantizationKernels.Active.SquaredError(Matrix.Row(row).Slice(Column, Columns), parameters, codes);
    }
}
