using Nibble.Numerics;
using Nibble.Numerics.Kernels;
using Nibble.Recipes;

namespace Nibble.Algorithms;

/// <summary>Round to nearest: each weight becomes the nearest code, without data. It is the baseline of the other algorithms.</summary>
public static class RoundToNearest
{
    /// <summary>Quantizes a weight matrix.</summary>
    /// <remarks>
    /// <para>The range of a group is its lowest to its highest weight. With <see cref="WeightRange.Mse"/> both ends are multiplied by
    /// 1.00, 0.99, ... 0.30. The factor whose codes have the least summed squared error is kept, the largest among equals. With
    /// <see cref="WeightRange.Search"/> scale and zero point are searched separately (see <see cref="ParameterSearch"/>). Stretched schemes have no zero point,
    /// so they use the search of <see cref="WeightRange.Mse"/> instead.</para>
    /// <para>Rows are processed in parallel. The result depends neither on the number of threads nor on the machine.</para>
    /// </remarks>
    /// <param name="weights">The weights, row by row: <paramref name="rows"/> x <paramref name="columns"/>, all finite.</param>
    /// <param name="rows">Output channels, at least 1.</param>
    /// <param name="columns">Input channels, at least 1.</param>
    /// <param name="scheme">The codes and which weights share a scale: per tensor, per channel or per group.</param>
    /// <param name="range">How the range of a group is chosen.</param>
    /// <exception cref="ArgumentException">The number of weights does not follow from the shape.</exception>
    /// <exception cref="NibbleException">A weight is not finite, the granularity is per token, or a scale does not fit its stored
    /// precision.</exception>
    public static QuantizedTensor Quantize(
        ReadOnlySpan<float> weights, int rows, int columns, QuantizationScheme scheme, WeightRange range = WeightRange.MinMax) =>
        BlockRounding.Quantize(weights, rows, columns, scheme, block => ChooseParameters(block, scheme, range));

    /// <summary>Quantizes a weight matrix with known scales and zero points, such as learned ones.</summary>
    /// <param name="weights">The weights, row by row: <paramref name="rows"/> x <paramref name="columns"/>.</param>
    /// <param name="rows">Output channels, at least 1.</param>
    /// <param name="columns">Input channels, at least 1.</param>
    /// <param name="scheme">The codes and which weights share a scale.</param>
    /// <param name="scales">One scale per group, row by row. The array is kept.</param>
    /// <param name="zeroPoints">One zero point per group, row by row; empty for symmetric schemes. The array is kept.</param>
    /// <exception cref="ArgumentException">A length does not follow from the shape and the scheme.</exception>
    public static QuantizedTensor QuantizeWith(
        ReadOnlySpan<float> weights, int rows, int columns, QuantizationScheme scheme, float[] scales, sbyte[] zeroPoints)
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
                BlockRounding.Quantize(kernel, weights.Slice(start, length), result.Parameters(row, group), scheme, result.Codes.AsSpan(start, length));
            }
        }

        return result;
    }

    private static QuantizationParameters ChooseParameters(WeightBlock block, QuantizationScheme scheme, WeightRange range) => range switch
    {
        WeightRange.MinMax => QuantizationParameters.FromRange(block.Range, scheme),
        WeightRange.Search when scheme.Format != CodeFormat.Stretched => ParameterSearch.Search(block.Values, [], scheme),
        _ => ShrunkRange.Choose(block.Range, scheme, new BlockError(block, scheme)),
    };

    private readonly struct BlockError(WeightBlock block, QuantizationScheme scheme) : IGroupError
    {
        public double Of(QuantizationParameters parameters) => scheme.Format == CodeFormat.Stretched ? StretchedErrors(block, parameters.Scale, scheme.Codes)
            : block.Rows == 1 ? QuantizationKernels.Active.SquaredError(block.Values, parameters, scheme.Codes)
            : RowErrors(block, parameters, scheme.Codes).Sum();

        // Summed in the order of the rows, whichever thread finishes first. A separate method, so that the caller above does not pay for the closure.
        private static double[] RowErrors(WeightBlock block, QuantizationParameters parameters, CodeRange codes)
        {
            var errors = new double[block.Rows];
            Parallel.For(0, block.Rows, row => errors[row] = QuantizationKernels.Active.SquaredError(block.Row(row), parameters, codes));
            return errors;
        }

        private static double StretchedErrors(WeightBlock block, float scale, CodeRange codes)
        {
            double sum = 0;
            for (var row = 0; row < block.Rows; row++)
            {
                foreach (var value in block.Row(row))
                {
                    double error = value - ScalarQuantizer.DequantizeStretched(ScalarQuantizer.QuantizeStretched(value, scale, codes), scale);
                    sum += error * error;
                }
            }

            return sum;
        }
    }
}
