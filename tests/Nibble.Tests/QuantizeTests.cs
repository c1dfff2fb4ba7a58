using Nibble.Algorithms;
using Nibble.Numerics;
using Nibble.Recipes;
using Nibble.Tests.Shared;
using Rtn = Nibble.Algorithms.RoundToNearest;
using Solver = Nibble.Algorithms.Gptq;

namespace Nibble.Tests;

/// <summary>The verb for a matrix does what the algorithms do.</summary>
public class QuantizeTests
{
    private const int Rows = 12;
    private const int Columns = 37;
    private const int Tokens = 90;

    private static readonly QuantizationScheme Int4 = new(4, symmetric: false, Granularity.Group(16));
    private static readonly float[] Weights = Normal(Rows * Columns, seed: 1);

    /// <summary>Columns of very different sizes, so that it matters which of them is known to be large.</summary>
    private static readonly float[] Inputs = [.. Normal(Tokens * Columns, seed: 2).Select((value, i) => value * (1 + (i % Columns)))];

    private static MatrixOptions On(WeightRounding algorithm) => new() { Algorithm = algorithm, Inputs = Inputs };

    [Fact]
    public void MatrixWithoutOptionsRoundsToNearest() =>
        Equal(Rtn.Quantize(Weights, Rows, Columns, Int4), Quantize.Matrix(Weights, Rows, Columns, Int4));

    [Fact]
    public void MatrixTakesTheRangeThatIsGiven() =>
        Equal(Rtn.Quantize(Weights, Rows, Columns, Int4, WeightRange.Mse),
            Quantize.Matrix(Weights, Rows, Columns, Int4, new MatrixOptions { Range = WeightRange.Mse }));

    [Fact]
    public void MatrixByHqqLooksAtNoInputsAndSaysSo()
    {
        var told = new List<string>();
        var options = On(WeightRounding.Hqq) with { Logger = new ListLogger(told) };
        Equal(Hqq.Quantize(Weights, Rows, Columns, Int4), Quantize.Matrix(Weights, Rows, Columns, Int4, options));
        Assert.Equal("the algorithm hqq does not use inputs, so the given inputs have no effect", Assert.Single(told));
    }

    [Fact]
    public void MatrixByImportanceWeighsByTheMeanSquaresOfTheInputs()
    {
        var importance = new float[Columns];
        for (var column = 0; column < Columns; column++)
        {
            importance[column] = (float)(Enumerable.Range(0, Tokens).Sum(token => Math.Pow(Inputs[(token * Columns) + column], 2)) / Tokens);
        }

        Equal(ImportanceWeighted.Quantize(Weights, Rows, Columns, Int4, importance),
            Quantize.Matrix(Weights, Rows, Columns, Int4, On(WeightRounding.ImportanceWeighted)));
    }

    [Fact]
    public void MatrixByGptqTakesInputsOrTheirHessianWhichStaysAsItIs()
    {
        var hessian = NaiveHessian();
        var before = hessian.Block(0).ToArray();
        var factor = HessianFactor.Create(NaiveHessian(), byActivation: true);
        var expected = Solver.Quantize(
            Weights, Rows, Columns, Int4, factor,
            new GptqOptions { Range = WeightRange.Search, WeighByImportance = true, Order = ActivationOrder.Weight }).Weight;

        Equal(expected, Quantize.Matrix(Weights, Rows, Columns, Int4, new MatrixOptions { Algorithm = WeightRounding.Gptq, Hessian = hessian }));
        Assert.Equal(before, hessian.Block(0).ToArray());
        Assert.True(OutputError(
            Quantize.Matrix(Weights, Rows, Columns, Int4, On(WeightRounding.Gptq))) < OutputError(Rtn.Quantize(Weights, Rows, Columns, Int4)));
    }

    [Fact]
    public void HessianOfInputsIsTheirSecondMomentsOnAnyNumberOfThreads()
    {
        var (one, many) = (InputMoments.Hessian(Inputs, Columns, 1, default), InputMoments.Hessian(Inputs, Columns, 4, default));
        var naive = NaiveHessian();
        Assert.Equal(one.Block(0).ToArray(), many.Block(0).ToArray());
        for (var row = 0; row < Columns; row++)
        {
            for (var column = 0; column < Columns; column++)
            {
                Assert.Equal(naive[row, column], one[row, column], 1e-4 * Columns * Columns);
                Assert.Equal(one[column, row], one[row, column]);
            }
        }
    }

    [Fact]
    public void MatrixTellsItsProgress()
    {
        var told = new List<(string, long, long)>();
        Quantize.Matrix(Weights, Rows, Columns, Int4, On(WeightRounding.Gptq), new Progress(step => told.Add((step.Stage, step.Done, step.Total))),
            TestContext.Current.CancellationToken);
        Assert.Equal([("calibrate", Columns, Columns), ("quantize", Rows, Rows)], told);
    }

    [Fact]
    public void MatrixIsCancelled() =>
        Assert.Throws<OperationCanceledException>(() => Quantize.Matrix(Weights, Rows, Columns, Int4, cancellation: new CancellationToken(canceled: true)));

    [Fact]
    public void MatrixRefusesWhatCannotBe()
    {
        Assert.Contains(
            "the algorithm gptq needs the layer's inputs, and none were given; set Inputs or Hessian",
            Assert.Throws<NibbleException>(() => Run(new MatrixOptions { Algorithm = WeightRounding.Gptq })).Message,
            StringComparison.Ordinal);
        Assert.Contains("w4a16-g32-gptaq", Assert.Throws<NibbleException>(() => Run(On(WeightRounding.Gptaq))).Message, StringComparison.Ordinal);
        Assert.Contains("both given", Fault(On(WeightRounding.Gptq) with { Hessian = NaiveHessian() }), StringComparison.Ordinal);
        Assert.Contains("expected rows of 37 columns", Fault(On(WeightRounding.Gptq) with { Inputs = Inputs.AsMemory(1) }), StringComparison.Ordinal);
        Assert.Contains("A Hessian of 3 columns", Fault(new MatrixOptions { Algorithm = WeightRounding.Gptq, Hessian = new SquareMatrix(3) }),
            StringComparison.Ordinal);

        static string Fault(MatrixOptions options) => Assert.Throws<ArgumentException>(() => Run(options)).Message;
        static QuantizedTensor Run(MatrixOptions options) => Quantize.Matrix(Weights, Rows, Columns, Int4, options);
    }

    private static SquareMatrix NaiveHessian()
    {
        var hessian = new SquareMatrix(Columns);
        for (var row = 0; row < Columns; row++)
        {
            for (var column = 0; column < Columns; column++)
            {
                hessian[row, column] = (float)(
                    2.0 / Tokens * Enumerable.Range(0, Tokens).Sum(token => (double)Inputs[(token * Columns) + row] * Inputs[(token * Columns) + column]));
            }
        }

        return hessian;
    }

    private static double OutputError(QuantizedTensor tensor)
    {
        var errors = tensor.Dequantize().Zip(Weights, (quantized, exact) => (double)quantized - exact).ToArray();
        double sum = 0;
        for (var row = 0; row < Rows; row++)
        {
            for (var token = 0; token < Tokens; token++)
            {
                sum += Math.Pow(Enumerable.Range(0, Columns).Sum(column => errors[(row * Columns) + column] * Inputs[(token * Columns) + column]), 2);
            }
        }

        return sum;
    }

    private static void Equal(QuantizedTensor expected, QuantizedTensor actual)
    {
        Assert.Equal(expected.Codes, actual.Codes);
        Assert.Equal(expected.Scales, actual.Scales);
        Assert.Equal(expected.ZeroPoints, actual.ZeroPoints);
    }

    private static float[] Normal(int count, int seed)
    {
        var random = new Random(seed);
        return [.. Enumerable.Range(0, count).Select(_ => (float)(random.NextDouble() + random.NextDouble() + random.NextDouble() - 1.5))];
    }

    private sealed class Progress(Action<RunProgress> then) : IProgress<RunProgress>
    {
        public void Report(RunProgress value) => then(value);
    }
}
