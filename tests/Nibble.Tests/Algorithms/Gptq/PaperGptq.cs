using Nibble.Numerics;
using Nibble.Recipes;

namespace Nibble.Tests.Algorithms;

/// <summary>
/// The paper's equations as they stand, in binary64: optimal brain quantization (equation 2) in a fixed order, with the inverse of the
/// Hessian of the columns still to come kept by Gaussian elimination (equation 3). No factorization, no blocks, one row at a time.
/// </summary>
internal sealed class PaperGptq
{
    public required sbyte[] Codes { get; init; }

    public required QuantizationParameters[] Parameters { get; init; }

    public required double Loss { get; init; }

    /// <summary>
    /// How close each row's decisions were: the least distance of a weight to the middle between two codes, in steps, and the least relative lead of a
    /// chosen range over the next best. Where it is tiny, binary32 may rightly decide otherwise.
    /// </summary>
    public required double[] Margins { get; init; }

    public static PaperGptq Quantize(RandomLayer layer, QuantizationScheme scheme, ActivationOrder activationOrder, WeightRange range, bool byImportance)
    {
        var (rows, columns) = (layer.Rows, layer.Columns);
        var order = activationOrder == ActivationOrder.None ? [.. Enumerable.Range(0, columns)] : layer.Order;
        var length = scheme.Granularity is PerGroup { Size: var size } ? size : columns;
        var groups = (columns + length - 1) / length;
        var inverse = Inverse(layer.Damped(order));
        var firstRows = new double[columns][];
        for (var i = 0; i < columns; i++)
        {
            firstRows[i] = [.. Enumerable.Range(0, columns - i).Select(j => inverse[0, j])];
            inverse = WithoutFirst(inverse);
        }

        var weights = new double[rows, columns];
        for (var row = 0; row < rows; row++)
        {
            for (var i = 0; i < columns; i++)
            {
                weights[row, i] = layer.Dead.Contains(order[i]) ? 0 : layer.Weights[(row * columns) + order[i]];
            }
        }

        var margin = 1d;
        var importance = Array.ConvertAll(order, column => byImportance && range == WeightRange.Mse ? layer.Importance[column] : 1);
        var parameters = new QuantizationParameters[scheme.Granularity is PerTensor ? 1 : rows * groups];
        var moving = scheme.Granularity is PerGroup && activationOrder != ActivationOrder.Weight;
        int GroupOf(int position) => (activationOrder == ActivationOrder.Group ? position : order[position]) / length;
        if (scheme.Granularity is PerTensor)
        {
            parameters[0] = Choose([.. weights.Cast<double>()], [.. Enumerable.Repeat(importance, rows).SelectMany(row => row)], scheme, range, ref margin);
        }

        var tensorMargin = margin;

        var codes = new sbyte[rows * columns];
        var (loss, margins) = (0d, new double[rows]);
        for (var row = 0; row < rows; row++)
        {
            margin = tensorMargin;
            if (!moving && scheme.Granularity is not PerTensor)
            {
                for (var group = 0; group < groups; group++)
                {
                    int[] members = [.. Enumerable.Range(0, columns).Where(position => order[position] / length == group)];
                    parameters[(row * groups) + group] = Choose(
                        [.. members.Select(i => weights[row, i])], [.. members.Select(i => importance[i])], scheme, range, ref margin);
                }
            }

            for (var i = 0; i < columns; i++)
            {
                if (moving && i % length == 0)
                {
                    int[] members = [.. Enumerable.Range(i, Math.Min(length, columns - i))];
                    parameters[(row * groups) + GroupOf(i)] = Choose(
                        [.. members.Select(j => weights[row, j])], [.. members.Select(j => importance[j])], scheme, range, ref margin);
                }

                var chosen = parameters[scheme.Granularity is PerTensor ? 0 : (row * groups) + GroupOf(i)];
                var steps = weights[row, i] / chosen.Scale;
                var code = Math.Clamp(Math.Round(steps, MidpointRounding.ToEven) + chosen.ZeroPoint, scheme.Codes.Min, scheme.Codes.Max);
                if (steps + chosen.ZeroPoint > scheme.Codes.Min - 1 && steps + chosen.ZeroPoint < scheme.Codes.Max + 1)
                {
                    margin = Math.Min(margin, Math.Abs(Math.Abs(steps - Math.Round(steps)) - 0.5));
                }

                codes[(row * columns) + order[i]] = (sbyte)code;
                var remaining = firstRows[i];
                var error = (weights[row, i] - (chosen.Scale * (code - chosen.ZeroPoint))) / remaining[0];
                loss += error * error * remaining[0] / 2;
                for (var j = i; j < columns; j++)
                {
                    weights[row, j] -= error * remaining[j - i];
                }
            }

            margins[row] = margin;
        }

        return new PaperGptq { Codes = codes, Parameters = parameters, Loss = loss, Margins = margins };
    }

    private static QuantizationParameters Choose(double[] values, float[] importance, QuantizationScheme scheme, WeightRange range, ref double margin)
    {
        var (min, max) = ((float)values.Min(), (float)values.Max());
        var candidates = Enumerable.Range(0, range == WeightRange.Mse ? 71 : 1)
            .Select(step => 1 - (step * 0.01))
            .Select(factor => QuantizationParameters.FromRange(new ValueRange((float)(min * factor), (float)(max * factor)), scheme))
            .Select(candidate => (Parameters: candidate,
                Error: values.Zip(importance, (value, weight) => weight * Math.Pow(value - Nearest(value, candidate, scheme.Codes), 2)).Sum()))
            .ToArray();
        var best = candidates.MinBy(candidate => candidate.Error);
        var next = candidates.Where(candidate => candidate.Parameters != best.Parameters).Select(candidate => candidate.Error)
            .DefaultIfEmpty(double.PositiveInfinity).Min();
        margin = Math.Min(margin, best.Error == 0 ? 1 : (next - best.Error) / best.Error);
        return best.Parameters;
    }

    private static double Nearest(double value, QuantizationParameters parameters, CodeRange codes) => parameters.Scale
        * (Math.Clamp(Math.Round(value / parameters.Scale, MidpointRounding.ToEven) + parameters.ZeroPoint, codes.Min, codes.Max) - parameters.ZeroPoint);

    /// <summary>Gauss and Jordan.</summary>
    private static double[,] Inverse(double[,] matrix)
    {
        var n = matrix.GetLength(0);
        var work = (double[,])matrix.Clone();
        var inverse = new double[n, n];
        for (var i = 0; i < n; i++)
        {
            inverse[i, i] = 1;
        }

        for (var pivot = 0; pivot < n; pivot++)
        {
            var divisor = work[pivot, pivot];
            for (var j = 0; j < n; j++)
            {
                work[pivot, j] /= divisor;
                inverse[pivot, j] /= divisor;
            }

            for (var i = 0; i < n; i++)
            {
                var multiple = i == pivot ? 0 : work[i, pivot];
                for (var j = 0; j < n && multiple != 0; j++)
                {
                    work[i, j] -= multiple * work[pivot, j];
                    inverse[i, j] -= multiple * inverse[pivot, j];
                }
            }
        }

        return inverse;
    }

    /// <summary>The inverse of the Hessian without its first row and column, from the inverse with them.</summary>
    private static double[,] WithoutFirst(double[,] inverse)
    {
        var n = inverse.GetLength(0) - 1;
        var smaller = new double[n, n];
        for (var i = 0; i < n; i++)
        {
            for (var j = 0; j < n; j++)
            {
                smaller[i, j] = inverse[i + 1, j + 1] - (inverse[i + 1, 0] * inverse[0, j + 1] / inverse[0, 0]);
            }
        }

        return smaller;
    }
}
