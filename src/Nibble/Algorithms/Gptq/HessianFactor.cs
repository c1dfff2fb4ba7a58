namespace Nibble.Algorithms.Gptq;

/// <summary>What GPTQ needs to know about a layer's inputs: the damped Hessian as <c>H = R R^T</c> with an upper-triangular R.</summary>
/// <remarks>
/// <para>The paper's U, with <c>H^-1 = U^T U</c>, is the inverse of R: the rows of U that spread an error over the columns still to come need not be
/// formed, which spares two thirds of the factorization and keeps its rounding errors apart from the Hessian's condition. R is the Cholesky factor of the Hessian with rows and
/// columns in reverse, itself reversed in both directions.</para>
/// <para>Rows and columns of R are in the order in which columns are quantized; everything else is in the weight's own order.</para>
/// </remarks>
public sealed class HessianFactor
{
    /// <summary>Takes in the parts, which are kept and not copied.</summary>
    /// <param name="columns">Columns of the weight, at least 1.</param>
    /// <param name="values">R, row by row: <paramref name="columns"/> x <paramref name="columns"/>; what is below its diagonal is not looked at.</param>
    /// <param name="order">The column that is quantized first, second, ...; null for the weight's own order.</param>
    /// <param name="deadColumns">Columns whose input was always zero; their weights are quantized as zeros.</param>
    /// <param name="importance">The diagonal of the undamped Hessian; empty where it is not known.</param>
    /// <exception cref="ArgumentException">A length does not follow from the columns, the order is no permutation, or a dead column does not exist.</exception>
    /// <exception cref="NibbleException">R has an element that is not finite, or a diagonal element that is not positive.</exception>
    public HessianFactor(int columns, float[] values, int[]? order = null, int[]? deadColumns = null, float[]? importance = null)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(columns, 1);
        ArgumentNullException.ThrowIfNull(values);
        RequireLength(nameof(values), values.Length, (long)columns * columns);
        if (order is not null && !order.Order().SequenceEqual(Enumerable.Range(0, columns)))
        {
            throw new ArgumentException($"The order must hold each of the columns 0 to {columns - 1} once.", nameof(order));
        }

        if (deadColumns is not null && Array.Exists(deadColumns, column => column < 0 || column >= columns))
        {
            throw new ArgumentException($"Dead columns must be among 0 to {columns - 1}.", nameof(deadColumns));
        }

        if (importance is { Length: > 0 })
        {
            RequireLength(nameof(importance), importance.Length, columns);
        }

        for (var row = 0; row < columns; row++)
        {
            var rest = values.AsSpan((row * columns) + row, columns - row);
            if (!(rest[0] > 0) || Numerics.Quantizer.Measure(rest).NonFiniteCount > 0)
            {
                throw new NibbleException($"Row {row} of the Hessian's factor has the diagonal element {rest[0]} and may hold NaN or infinite values, expected finite values and a positive diagonal; use more dampening or other calibration data.");
            }
        }

        Columns = columns;
        Values = values;
        Order = order;
        DeadColumns = deadColumns ?? [];
        Importance = importance ?? [];
    }

    /// <summary>Columns of the weight.</summary>
    public int Columns { get; }

    /// <summary>R, row by row.</summary>
    public ReadOnlyMemory<float> Values { get; }

    /// <summary>The column that is quantized first, second, ...; null for the weight's own order.</summary>
    public IReadOnlyList<int>? Order { get; }

    /// <summary>Columns whose input was always zero.</summary>
    public IReadOnlyList<int> DeadColumns { get; }

    /// <summary>The diagonal of the undamped Hessian, in the weight's own order; empty where it is not known.</summary>
    public ReadOnlyMemory<float> Importance { get; }

    private static void RequireLength(string name, int found, long expected)
    {
        if (found != expected)
        {
            throw new ArgumentException($"{name} has {found} values, expected {expected}.", name);
        }
    }
}
