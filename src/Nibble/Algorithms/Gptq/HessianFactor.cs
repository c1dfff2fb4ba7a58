using System.Globalization;
using Nibble.Numerics;

namespace Nibble.Algorithms;

/// <summary>The information about a layer's inputs that GPTQ needs: the damped Hessian as <c>H = R R^T</c> with an upper-triangular R.</summary>
/// <remarks>
/// <para>The paper's U, with <c>H^-1 = U^T U</c>, is the inverse of R. The rows of U that spread an error over the remaining columns need not be
/// formed. This saves two thirds of the factorization and keeps its rounding errors independent of the Hessian's condition. R is the Cholesky factor of
/// the Hessian with rows and columns in reverse, itself reversed in both directions.</para>
/// <para>Rows and columns of R are in the order in which columns are quantized. Everything else is in the weight's own column order.</para>
/// </remarks>
public sealed class HessianFactor
{
    /// <summary>The most that is added to the diagonal, as a share of its mean.</summary>
    public const double MostDampening = 1;

    /// <summary>The first value to raise the dampening to if it was 0.</summary>
    private const double SmallestRaise = 1e-4;

    /// <summary>Creates a factor from its parts. The arrays are kept, not copied.</summary>
    /// <param name="columns">Columns of the weight, at least 1.</param>
    /// <param name="values">R, row by row: <paramref name="columns"/> x <paramref name="columns"/>. Elements below its diagonal are not read.</param>
    /// <param name="order">The columns in the order of quantization; null for the weight's own order.</param>
    /// <param name="deadColumns">Columns whose input was always zero. Their weights are quantized as zeros.</param>
    /// <param name="importance">The diagonal of the undamped Hessian; empty if it is not known.</param>
    /// <exception cref="ArgumentException">A length does not match the columns, the order is not a permutation, or a dead column does not exist.</exception>
    /// <exception cref="NibbleException">R has an element that is not finite, or a diagonal element that is not positive.</exception>
    public HessianFactor(int columns, float[] values, int[]? order = null, int[]? deadColumns = null, float[]? importance = null)
        : this(new SquareMatrix(columns, values), order, deadColumns, importance)
    {
    }

    /// <summary>Creates a factor from its parts, which are kept, not copied.</summary>
    /// <param name="values">R, with a row and a column for each column of the weight. Elements below its diagonal are not read.</param>
    /// <param name="order">The columns in the order of quantization; null for the weight's own order.</param>
    /// <param name="deadColumns">Columns whose input was always zero. Their weights are quantized as zeros.</param>
    /// <param name="importance">The diagonal of the undamped Hessian; empty if it is not known.</param>
    /// <exception cref="ArgumentException">A length does not match the columns, the order is not a permutation, or a dead column does not exist.</exception>
    /// <exception cref="NibbleException">R has an element that is not finite, or a diagonal element that is not positive.</exception>
    public HessianFactor(SquareMatrix values, int[]? order = null, int[]? deadColumns = null, float[]? importance = null)
    {
        ArgumentNullException.ThrowIfNull(values);
        var columns = values.Size;
        if (order is not null && !order.Order().SequenceEqual(Enumerable.Range(0, columns)))
        {
            throw new ArgumentException($"The order must hold each of the columns 0 to {columns - 1} exactly once.", nameof(order));
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
            var rest = values.Row(row)[row..];
            if (!(rest[0] > 0) || Quantizer.Measure(rest).NonFiniteCount > 0)
            {
                throw new NibbleException(
                    $"Row {row} of the Hessian's factor has the diagonal element {rest[0]} and may hold NaN or infinite values, expected finite values and a "
                    + $"positive diagonal; use more dampening or other calibration data.");
            }
        }

        Columns = columns;
        Values = values;
        Order = order;
        DeadColumns = deadColumns ?? [];
        Importance = importance ?? [];
    }

    /// <summary>Factors a Hessian.</summary>
    /// <remarks>
    /// As in the paper's code, a column whose diagonal element is zero is dead and gets the element 1. Then <paramref name="dampening"/> times the mean of the
    /// diagonal is added to the diagonal. If the result is not positive definite in binary32, ten times as much is added, and so on up to
    /// <see cref="MostDampening"/>.
    /// The result depends neither on the number of threads nor on the instruction set.
    /// </remarks>
    /// <param name="hessian">H, row by row, symmetric, undamped. Its memory is reused.</param>
    /// <param name="columns">Columns of the weight, at least 1.</param>
    /// <param name="byActivation">Whether columns are quantized by falling diagonal instead of in their own order.</param>
    /// <param name="dampening">What is added to the diagonal, as a share of its mean: 0 to <see cref="MostDampening"/>.</param>
    /// <param name="threads">The number of threads, at least 1; null for one per core.</param>
    /// <exception cref="ArgumentException">A length or the dampening is out of range.</exception>
    /// <exception cref="NibbleException">The Hessian holds values that are not finite, or no dampening makes it positive definite.</exception>
    public static HessianFactor Create(float[] hessian, int columns, bool byActivation = false, double dampening = 0.01, int? threads = null) =>
        Create(new SquareMatrix(columns, hessian), byActivation, dampening, threads);

    /// <summary>Factors a Hessian, as the other overload does.</summary>
    /// <param name="hessian">H, symmetric, undamped, with a row and a column for each column of the weight. Its memory is reused.</param>
    /// <param name="byActivation">Whether columns are quantized by falling diagonal instead of in their own order.</param>
    /// <param name="dampening">What is added to the diagonal, as a share of its mean: 0 to <see cref="MostDampening"/>.</param>
    /// <param name="threads">The number of threads, at least 1; null for one per core.</param>
    /// <exception cref="ArgumentException">The dampening is out of range.</exception>
    /// <exception cref="NibbleException">The Hessian holds values that are not finite, or no dampening makes it positive definite.</exception>
    public static HessianFactor Create(SquareMatrix hessian, bool byActivation = false, double dampening = 0.01, int? threads = null)
    {
        ArgumentNullException.ThrowIfNull(hessian);
        var columns = hessian.Size;
        if (!(dampening >= 0 && dampening <= MostDampening))
        {
            throw new ArgumentOutOfRangeException(nameof(dampening), dampening, $"A dampening must be a share from 0 to {MostDampening}.");
        }

        var importance = new float[columns];
        for (var i = 0; i < columns; i++)
        {
            importance[i] = hessian[i, i];
            if (!(importance[i] >= 0) || Quantizer.Measure(hessian.Row(i)).NonFiniteCount > 0)
            {
                throw new NibbleException(
                    $"Row {i} of the Hessian has the diagonal element {importance[i]} and may hold NaN or infinite values, expected finite values and a "
                    + $"diagonal that is not negative: the layer's inputs overflow on the calibration data.");
            }
        }

        int[] dead = [.. Enumerable.Range(0, columns).Where(column => importance[column] == 0)];
        var diagonal = Array.ConvertAll(importance, element => element == 0 ? 1 : element);
        int[]? order = byActivation ? [.. Enumerable.Range(0, columns).OrderByDescending(column => diagonal[column])] : null;
        var parallel = new ParallelOptions { MaxDegreeOfParallelism = threads ?? Environment.ProcessorCount };
        if (order is not null)
        {
            Permute(hessian, order, parallel);
        }

        var mean = diagonal.Average(element => (double)element);
        for (var tried = dampening; ; tried = Math.Min(Math.Max(tried * 10, SmallestRaise), MostDampening))
        {
            for (var i = 0; i < columns; i++)
            {
                hessian[i, i] = (float)(diagonal[order?[i] ?? i] + (tried * mean));
            }

            if (Cholesky.Factor(hessian, parallel))
            {
                return new HessianFactor(hessian, order, dead, importance)
                {
                    Dampening = tried,
                    Warning = tried == dampening ? null : Raised(columns, dampening, tried),
                };
            }

            if (tried >= MostDampening)
            {
                throw new NibbleException(
                    $"The Hessian of {columns} columns is not positive definite even with {tried} times its mean diagonal added, so it is not a Hessian of "
                    + $"inputs; collect it again.");
            }

            // The triangle below the diagonal is unchanged.
            Parallel.For(0, columns, parallel, row =>
            {
                var upper = hessian.Row(row);
                for (var column = row + 1; column < columns; column++)
                {
                    upper[column] = hessian[column, row];
                }
            });
        }
    }

    /// <summary>Columns of the weight.</summary>
    public int Columns { get; }

    /// <summary>What was added to the diagonal, as a share of its mean; NaN if it is not known.</summary>
    public double Dampening { get; private init; } = double.NaN;

    /// <summary>A warning that more was added to the diagonal than requested; null if it was not.</summary>
    public string? Warning { get; private init; }

    /// <summary>R. Do not change it.</summary>
    public SquareMatrix Values { get; }

    /// <summary>The columns in the order of quantization; null for the weight's own order.</summary>
    public IReadOnlyList<int>? Order { get; }

    /// <summary>Columns whose input was always zero.</summary>
    public IReadOnlyList<int> DeadColumns { get; }

    /// <summary>The diagonal of the undamped Hessian, in the weight's own column order; empty if it is not known.</summary>
    public ReadOnlyMemory<float> Importance { get; }

    private static string Raised(int columns, double asked, double used) => string.Create(
        CultureInfo.InvariantCulture,
        $"The Hessian of {columns} columns is not positive definite in binary32 with {asked} times its mean diagonal added; {used} times was added instead, "
            + $"which makes errors spread less. More calibration data helps.");

    /// <summary>Reorders rows and columns without a second matrix.</summary>
    private static void Permute(SquareMatrix matrix, int[] order, ParallelOptions parallel)
    {
        var size = matrix.Size;
        var moved = new bool[size];
        var first = new float[size];
        for (var start = 0; start < size; start++)
        {
            if (moved[start])
            {
                continue;
            }

            // One cycle of rows.
            matrix.Row(start).CopyTo(first);
            var row = start;
            for (; order[row] != start; row = order[row])
            {
                matrix.Row(order[row]).CopyTo(matrix.Row(row));
                moved[row] = true;
            }

            first.CopyTo(matrix.Row(row));
            moved[row] = true;
        }

        Parallel.For(0, size, parallel, () => new float[size], (row, _, source) =>
        {
            var target = matrix.Row(row);
            target.CopyTo(source);
            for (var column = 0; column < size; column++)
            {
                target[column] = source[order[column]];
            }

            return source;
        }, _ => { });
    }

    private static void RequireLength(string name, int found, long expected)
    {
        if (found != expected)
        {
            throw new ArgumentException($"{name} has {found} values, expected {expected}.", name);
        }
    }
}
