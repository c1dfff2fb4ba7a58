using System.Numerics;
using System.Runtime.InteropServices;
using Nibble.Numerics;

namespace Nibble.Algorithms;

/// <summary>The statistics of a layer's inputs that algorithms need, from inputs in memory.</summary>
internal static class InputMoments
{
    /// <summary>The mean square of each column.</summary>
    /// <param name="inputs">The inputs, row by row: tokens x <paramref name="columns"/>, at least one token.</param>
    /// <param name="columns">Columns, at least 1.</param>
    public static float[] MeanSquares(ReadOnlySpan<float> inputs, int columns)
    {
        var sums = new double[columns];
        for (var i = 0; i < inputs.Length; i++)
        {
            sums[i % columns] += (double)inputs[i] * inputs[i];
        }

        var tokens = inputs.Length / columns;
        return Array.ConvertAll(sums, sum => (float)(sum / tokens));
    }

    /// <summary>The Hessian of the squared output error, <c>2/n X^T X</c> over the n tokens of the inputs X.</summary>
    /// <remarks>
    /// Each element is one chain of fused multiply-adds over the tokens, so it depends neither on the number of threads nor on the instruction set.
    /// </remarks>
    /// <param name="inputs">The inputs, row by row: tokens x <paramref name="columns"/>, at least one token.</param>
    /// <param name="columns">Columns, at least 1.</param>
    /// <param name="threads">The number of threads, at least 1; null for one per core.</param>
    /// <param name="cancellation">Stops between rows.</param>
    public static SquareMatrix Hessian(ReadOnlyMemory<float> inputs, int columns, int? threads, CancellationToken cancellation)
    {
        var matrix = new SquareMatrix(columns);
        var tokens = inputs.Length / columns;
        var parallel = new ParallelOptions { MaxDegreeOfParallelism = threads ?? Environment.ProcessorCount, CancellationToken = cancellation };
        Parallel.For(0, columns, parallel, row =>
        {
            var sums = matrix.Row(row)[..(row + 1)];
            for (var token = 0; token < tokens; token++)
            {
                var values = inputs.Span.Slice(token * columns, columns);
                AddProduct(values[row], values[..sums.Length], sums);
            }

            foreach (ref var sum in sums)
            {
                sum *= 2f / tokens;
            }
        });
        Parallel.For(0, columns, parallel, row =>
        {
            var upper = matrix.Row(row);
            for (var column = row + 1; column < columns; column++)
            {
                upper[column] = matrix[column, row];
            }
        });
        return matrix;
    }

    private static void AddProduct(float factor, ReadOnlySpan<float> values, Span<float> sums)
    {
        var wide = MemoryMarshal.Cast<float, Vector<float>>(values);
        var wideSums = MemoryMarshal.Cast<float, Vector<float>>(sums);
        for (var i = 0; i < wide.Length; i++)
        {
            wideSums[i] = Vector.FusedMultiplyAdd(new Vector<float>(factor), wide[i], wideSums[i]);
        }

        for (var i = wide.Length * Vector<float>.Count; i < values.Length; i++)
        {
            sums[i] = MathF.FusedMultiplyAdd(factor, values[i], sums[i]);
        }
    }
}
