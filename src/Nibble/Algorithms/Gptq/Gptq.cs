using Nibble.Numerics;
using Nibble.Recipes;

namespace Nibble.Algorithms;

/// <summary>GPTQ: quantizes a weight column by column, and the remaining columns compensate for each error (Frantar et al. 2022, algorithm 1).</summary>
/// <remarks>
/// <para>The paper keeps the weights up to date: after column i with error <c>e_i = (w_i - q_i) / U_ii</c> it subtracts <c>e_i U_ij</c> from every
/// remaining column j. All errors together are <c>E = (W - Q) R</c> with <c>R = U^-1</c>, so the weight when its column is quantized is
/// <c>w_i = W_i + (sum over k &lt; i of (W_k - Q_k) R_ki) / R_ii</c>, and U itself is not needed. This class computes that form.</para>
/// <para>Scales of groups come from the group's weights when its first column is quantized, corrected for all errors before it.</para>
/// <para>Each sum is one chain of fused multiply-adds with k rising, so that the result depends neither on the number of threads nor on the
/// instruction set. Compared with exact arithmetic, such a weight is off by at most <c>(n + 2) 2^-24 (|W_i| + sum |W_k - Q_k| |R_ki| / R_ii)</c> for
/// n columns. If this crosses the middle between two codes, the neighbouring code is chosen.</para>
/// </remarks>
public static class Gptq
{
    /// <summary>Quantizes a weight matrix.</summary>
    /// <param name="weights">The weights, row by row: <paramref name="rows"/> x <paramref name="columns"/>, all finite.</param>
    /// <param name="rows">Output channels, at least 1.</param>
    /// <param name="columns">Input channels, at least 1.</param>
    /// <param name="scheme">The codes and which weights share a scale: per tensor, per channel or per group.</param>
    /// <param name="factor">The factored Hessian of the layer's inputs.</param>
    /// <param name="options">The options; null for the defaults.</param>
    /// <param name="cancellation">Stops between chunks of rows.</param>
    /// <exception cref="ArgumentException">The weights, the factor or its order do not fit the shape and the options.</exception>
    /// <exception cref="NibbleException">A weight is not finite, errors grow without bound, the granularity is per token, or a scale does not fit its stored
    /// precision.</exception>
    public static unsafe GptqResult Quantize(
        ReadOnlySpan<float> weights,
        int rows,
        int columns,
        QuantizationScheme scheme,
        HessianFactor factor,
        GptqOptions? options = null,
        CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(scheme);
        ArgumentNullException.ThrowIfNull(factor);
        ArgumentOutOfRangeException.ThrowIfLessThan(rows, 1);
        options ??= new GptqOptions();
        if (factor.Columns != columns || weights.Length != (long)rows * columns)
        {
            throw new ArgumentException(
                $"{weights.Length} weights and a factor of {factor.Columns} columns were given, expected {rows} x {columns}.", nameof(weights));
        }

        if ((options.Order == ActivationOrder.None) != (factor.Order is null))
        {
            throw new ArgumentException(
                $"The order {options.Order} does not fit a factor {(factor.Order is null ? "without" : "with")} an order.", nameof(options));
        }

        if (options.WeighByImportance && factor.Importance.IsEmpty)
        {
            throw new ArgumentException("Weighting by importance needs a factor that has the importance.", nameof(options));
        }

        var kept = factor.DeadColumns.Count == 0 ? weights : WithoutColumns(weights, columns, factor.DeadColumns);
        var importance = options.WeighByImportance && options.Range != WeightRange.MinMax ? factor.Importance : default;

        // Also checks the weights and the scheme. If scales do not depend on errors, these are the final scales.
        var grouped = scheme.Granularity is PerGroup group && group.Size < columns;
        var moving = grouped && options.Order != ActivationOrder.Weight;
        var start = RoundToNearest.Quantize(kept, rows, columns, scheme, moving || !importance.IsEmpty ? WeightRange.MinMax : options.Range);
        var parallel = new ParallelOptions { MaxDegreeOfParallelism = options.Threads ?? Environment.ProcessorCount, CancellationToken = cancellation };
        var index = grouped && options.Order == ActivationOrder.Group ? GroupIndex(factor.Order!, start.GroupLength) : null;
        var result = new QuantizedTensor(rows, columns, scheme, start.Codes, start.Scales, start.ZeroPoints, index);
        fixed (float* pinned = kept)
        {
            // Spans cannot enter the parallel loops. The matrix stays pinned until they end.
            if (!moving && !importance.IsEmpty)
            {
                SearchScales(pinned, start, importance, options.Range, parallel);
            }

            using var problem = new GptqProblem(pinned, result, factor, moving, options.Range, importance, parallel);
            return new GptqResult(result, problem.Solve(parallel));
        }
    }

    private static float[] WithoutColumns(ReadOnlySpan<float> weights, int columns, IReadOnlyList<int> dead)
    {
        var kept = weights.ToArray();
        for (var row = 0; row < kept.Length; row += columns)
        {
            foreach (var column in dead)
            {
                kept[row + column] = 0;
            }
        }

        return kept;
    }

    private static int[]? GroupIndex(IReadOnlyList<int> order, int groupLength)
    {
        var index = new int[order.Count];
        var scattered = false;
        for (var position = 0; position < index.Length; position++)
        {
            index[order[position]] = position / groupLength;
            scattered |= position / groupLength != order[position] / groupLength;
        }

        return scattered ? index : null;
    }

    /// <summary>Chooses the scales of a tensor, of channels or of groups of neighbouring columns by weighted squared error.</summary>
    private static unsafe void SearchScales(
        float* weights, QuantizedTensor tensor, ReadOnlyMemory<float> importance, WeightRange range, ParallelOptions parallel)
    {
        // A tensor is one search over all rows. Otherwise there is one search per group of a row.
        var together = tensor.Scheme.Granularity is PerTensor ? tensor.Rows : 1;
        Parallel.For(0, tensor.Rows / together, parallel, row =>
        {
            for (var group = 0; group < tensor.GroupsPerRow; group++)
            {
                var column = group * tensor.GroupLength;
                var length = Math.Min(tensor.GroupLength, tensor.Columns - column);
                var values = new ReadOnlySpan<float>(weights + ((long)row * tensor.Columns) + column, length * together);
                var parameters = ScaleSearch.Choose(values, importance.Span.Slice(column, length), Quantizer.Measure(values).Range, tensor.Scheme, range);
                var target = (row * tensor.GroupsPerRow) + group;
                tensor.Scales[target] = parameters.Scale;
                if (!tensor.Scheme.Symmetric)
                {
                    tensor.ZeroPoints[target] = (sbyte)parameters.ZeroPoint;
                }
            }
        });
    }
}
