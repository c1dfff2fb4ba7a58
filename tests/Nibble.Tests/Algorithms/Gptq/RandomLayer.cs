using Nibble.Algorithms;

namespace Nibble.Tests.Algorithms;

/// <summary>A weight with the Hessian of correlated inputs, some of which may always be zero.</summary>
internal sealed record RandomLayer(int Rows, int Columns, float[] Weights, double[,] Hessian, int[] Dead)
{
    /// <summary>Whole layers, dead columns in every second one.</summary>
    public static Gen<RandomLayer> Any { get; } =
        from rows in Gen.Int[1, 50]
        from columns in Gen.Int[1, 150]
        from dead in Gen.Int[0, 3]
        from seed in Gen.Int
        select Create(rows, columns, dead, seed);

    public static RandomLayer Create(int rows, int columns, int deadCount, int seed)
    {
        var random = new Random(seed);
        var weights = Enumerable.Range(0, rows * columns).Select(_ => (float)Normal(random) * 0.1f).ToArray();
        int[] dead = [.. Enumerable.Range(0, deadCount).Select(_ => random.Next(columns)).Distinct()];

        // Inputs are mixtures of fewer sources plus noise, of different sizes: neighbours and strangers correlate.
        var samples = (2 * columns) + 8;
        var sources = Math.Max(1, columns / 4);
        var mixing = Enumerable.Range(0, sources * columns).Select(_ => Normal(random)).ToArray();
        var sizes = Enumerable.Range(0, columns).Select(column => dead.Contains(column) ? 0 : Math.Exp(Normal(random))).ToArray();
        var hessian = new double[columns, columns];
        var input = new double[columns];
        for (var sample = 0; sample < samples; sample++)
        {
            var source = Enumerable.Range(0, sources).Select(_ => Normal(random)).ToArray();
            for (var column = 0; column < columns; column++)
            {
                input[column] = Normal(random);
                for (var i = 0; i < sources; i++)
                {
                    input[column] += source[i] * mixing[(i * columns) + column] / Math.Sqrt(sources);
                }

                input[column] *= sizes[column];
            }

            for (var row = 0; row < columns; row++)
            {
                for (var column = 0; column < columns; column++)
                {
                    hessian[row, column] += 2 * input[row] * input[column] / samples;
                }
            }
        }

        return new RandomLayer(rows, columns, weights, hessian, dead);
    }

    /// <summary>The diagonal of the Hessian.</summary>
    public float[] Importance => [.. Enumerable.Range(0, Columns).Select(column => (float)Hessian[column, column])];

    /// <summary>Columns by falling diagonal, as the paper's code sorts them: dead ones count as one.</summary>
    public int[] Order => [.. Enumerable.Range(0, Columns).OrderByDescending(column => Dead.Contains(column) ? 1 : Hessian[column, column])];

    /// <summary>The Hessian with ones for dead columns and one hundredth of the mean diagonal added, in some order.</summary>
    public double[,] Damped(int[]? order)
    {
        var damped = new double[Columns, Columns];
        for (var row = 0; row < Columns; row++)
        {
            for (var column = 0; column < Columns; column++)
            {
                damped[row, column] = Hessian[order?[row] ?? row, order?[column] ?? column];
            }
        }

        for (var i = 0; i < Columns; i++)
        {
            damped[i, i] += Dead.Contains(order?[i] ?? i) ? 1 : 0;
        }

        var mean = Enumerable.Range(0, Columns).Average(i => damped[i, i]);
        for (var i = 0; i < Columns; i++)
        {
            damped[i, i] += 0.01 * mean;
        }

        return damped;
    }

    /// <summary>The factor, computed in binary64.</summary>
    public HessianFactor Factor(int[]? order) => new(Columns, UpperFactor(Damped(order)), order, Dead, Importance);

    /// <summary>R of <c>H = R R^T</c>, upper triangular, from the last column to the first.</summary>
    public static float[] UpperFactor(double[,] hessian)
    {
        var n = hessian.GetLength(0);
        var factor = new double[n, n];
        for (var column = n - 1; column >= 0; column--)
        {
            for (var row = column; row >= 0; row--)
            {
                var sum = hessian[row, column];
                for (var k = column + 1; k < n; k++)
                {
                    sum -= factor[row, k] * factor[column, k];
                }

                factor[row, column] = row == column ? Math.Sqrt(sum) : sum / factor[column, column];
            }
        }

        return [.. factor.Cast<double>().Select(value => (float)value)];
    }

    /// <summary>The error of the layer's outputs: <c>tr((W - Q) H (W - Q)^T) / 2</c>, with the weights of dead columns zero.</summary>
    public double Loss(float[] values, double[,] hessian)
    {
        var loss = 0d;
        for (var row = 0; row < Rows; row++)
        {
            for (var i = 0; i < Columns; i++)
            {
                for (var j = 0; j < Columns; j++)
                {
                    loss += Difference(row, i) * hessian[i, j] * Difference(row, j);
                }
            }
        }

        return loss / 2;

        double Difference(int row, int column) => (Dead.Contains(column) ? 0 : Weights[(row * Columns) + column]) - values[(row * Columns) + column];
    }

    private static double Normal(Random random) => Math.Sqrt(-2 * Math.Log(1 - random.NextDouble())) * Math.Cos(2 * Math.PI * random.NextDouble());
}
