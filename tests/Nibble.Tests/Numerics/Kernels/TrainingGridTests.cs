using Nibble.Numerics.Kernels;
using Nibble.Numerics;

namespace Nibble.Tests.Numerics.Kernels;

/// <summary>Fake quantization for training: the scalar form against the quantizer, and every kernel of this machine against the scalar form, bit for
/// bit.</summary>
public class TrainingGridTests
{
    private const int Longest = 75;

    private static readonly Gen<TrainingGrid> Grids =
        from quantization in Gens.Quantization
        from stretched in Gen.Bool
        select Grid(quantization.Parameters, quantization.Codes, stretched ? 0.5f : 0);

    private static readonly Gen<float> Gradients = Gen
        .Frequency((6, Gen.Float[-3, 3]), (1, Gen.Const(0f)), (1, Gen.Float[-1e-41f, 1e-41f]), (1, Gen.Float[-1e30f, 1e30f]));

    public static TheoryData<string> Names { get; } = [.. QuantizationKernels.Available.Select(kernel => kernel.Name)];

    [Fact]
    public void ValuesAreTheScalarQuantizersExceptThatNaNStays() =>
        Gen.Select(Gens.Any, Gens.Quantization).Sample(
            (value, quantization) =>
            {
                var (parameters, codes, _) = quantization;
                var found = Grid(parameters, codes, 0).FakeQuantize(value);
                Assert.Equal(Bits(float.IsNaN(value) || float.IsNaN(value / parameters.Scale) ? float.NaN
                    : ScalarQuantizer.FakeQuantize(value, parameters, codes)), Bits(found));
            },
            iter: 10000);

    [Theory]
    [InlineData(-9f, -1.5f)]
    [InlineData(-2f, -1.5f)]
    [InlineData(-1.01f, -1.5f)]
    [InlineData(-1f, -0.5f)]
    [InlineData(-0.01f, -0.5f)]
    [InlineData(0f, 0.5f)]
    [InlineData(0.99f, 0.5f)]
    [InlineData(1f, 1.5f)]
    [InlineData(9f, 1.5f)]
    public void AStretchedGridLiesEvenlyAroundZero(float steps, float expected) =>
        Assert.Equal(expected * 0.25f, new TrainingGrid(0.25f, -2, 1, 0.5f).FakeQuantize(steps * 0.25f));

    [Theory]
    // Inside, where the nearest step is one of the grid's: the gradient passes, the scale gets round(v) - v.
    [InlineData(0f, 0.6f, 2, 2 * 0.4, 0)]
    [InlineData(0f, -2f, 2, 0, 0)]
    [InlineData(0f, 1f, 2, 0, 0)]
    // Outside: it stops, the scale gets the end.
    [InlineData(0f, 1.25f, 2, 2 * -0.25, 0)]
    [InlineData(0f, 1.75f, 0, 2 * 1, 2)]
    [InlineData(0f, -2.5f, 2, 2 * 0.5, 0)]
    [InlineData(0f, -2.75f, 0, 2 * -2, 2)]
    // Stretched by half a step, the highest step reaches to 2.
    [InlineData(0.5f, 0.6f, 2, 2 * -0.1, 0)]
    [InlineData(0.5f, 1.75f, 2, 2 * -0.25, 0)]
    [InlineData(0.5f, 2f, 0, 2 * 1.5, 2)]
    [InlineData(0.5f, 2.5f, 0, 2 * 1.5, 2)]
    [InlineData(0.5f, -2.5f, 0, 2 * -1.5, 2)]
    public void GradientsAreThoseOfLsq(float shift, float steps, float value, double scale, double outside)
    {
        var found = new TrainingGrid(0.5f, -2, 1, shift).Backward(steps * 0.5f, 2);
        Assert.Equal((value, outside), (found.Value, found.Outside));
        Assert.Equal(scale, found.Scale, 1e-6);
    }

    [Theory]
    [MemberData(nameof(Names))]
    public void FakeQuantizeEqualsTheScalarFormOnEveryLengthAndInPlace(string name)
    {
        var kernel = QuantizationKernels.Select(name);
        Gen.Select(Gens.Any.Array[Longest], Grids, Gen.Int[0, 3]).Sample(
            (values, grid, start) =>
            {
                var expected = Array.ConvertAll(values, grid.FakeQuantize);
                var buffer = new float[Longest + 1];
                for (var length = 0; length <= Longest - start; length++)
                {
                    Array.Fill(buffer, 99f);
                    kernel.FakeQuantize(values.AsSpan(start, length), grid, buffer.AsSpan(1, length));
                    AssertSame(expected.AsSpan(start, length), buffer.AsSpan(1, length));
                    Assert.True(buffer[0] == 99 && buffer.AsSpan(1 + length).IndexOfAnyExcept(99f) < 0, "wrote outside the destination");
                }

                kernel.FakeQuantize(values, grid, values);
                AssertSame(expected, values);
            },
            iter: 100);
    }

    [Theory]
    [MemberData(nameof(Names))]
    public void BackwardEqualsTheScalarFormOnEveryLengthAndInPlace(string name)
    {
        var kernel = QuantizationKernels.Select(name);
        Gen.Select(Gens.Any.Array[Longest], Gradients.Array[Longest], Grids, Gen.Int[0, 3]).Sample(
            (values, gradients, grid, start) =>
            {
                var expected = values.Zip(gradients, (value, gradient) => grid.Backward(value, gradient).Value).ToArray();
                var buffer = new float[Longest + 1];
                for (var length = 0; length <= Longest - start; length++)
                {
                    var source = values.AsSpan(start, length);
                    var given = gradients.AsSpan(start, length);
                    Array.Fill(buffer, 99f);
                    var sums = kernel.Backward(source, given, grid, buffer.AsSpan(1, length));
                    AssertSame(expected.AsSpan(start, length), buffer.AsSpan(1, length));
                    Assert.True(buffer[0] == 99 && buffer.AsSpan(1 + length).IndexOfAnyExcept(99f) < 0, "wrote outside the destination");
                    AssertSame(ScalarKernel.Instance.Backward(source, given, grid, []), sums);
                    AssertSame(sums, kernel.Backward(source, given, grid, []));
                }

                kernel.Backward(values, gradients, grid, gradients);
                AssertSame(expected, gradients);
            },
            iter: 100);
    }

    [Theory]
    [MemberData(nameof(Names))]
    public void SumsStayInTheirBudget(string name)
    {
        var kernel = QuantizationKernels.Select(name);
        Gen.Select(Gens.Finite.Array[0, Longest], Grids).Sample(
            (values, grid) =>
            {
                var gradients = Array.ConvertAll(values, value => MathF.Sin(value * 1e3f));
                var terms = values.Zip(gradients, grid.Backward).ToArray();
                var found = kernel.Backward(values, gradients, grid, []);
                Near(terms.Select(term => term.Scale), found.Scale);
                Near(terms.Select(term => term.Outside), found.Outside);
            },
            iter: 300);

        static void Near(IEnumerable<double> terms, double found)
        {
            var (exact, size) = (terms.Sum(), terms.Sum(Math.Abs));
            Assert.True(Math.Abs(exact - found) <= 1e-14 * size, $"{found} is not {exact}");
        }
    }

    [Theory]
    [MemberData(nameof(Names))]
    public void AValueOrAScaleThatIsNoNumberShowsInTheResult(string name)
    {
        var kernel = QuantizationKernels.Select(name);
        foreach (var position in new[] { 0, 9, 18 })
        {
            var (values, result) = (new float[19], new float[19]);
            values[position] = float.NaN;
            kernel.FakeQuantize(values, new TrainingGrid(1, -8, 7, 0), result);
            Assert.Equal(values, result);
            Assert.Equal(double.NaN, kernel.Backward(values, Enumerable.Repeat(1f, 19).ToArray(), new TrainingGrid(1, -8, 7, 0), result).Scale);
            Assert.Equal(Enumerable.Range(0, 19).Select(i => i == position ? 0f : 1), result);
        }

        var all = new float[19];
        kernel.FakeQuantize(new float[19], new TrainingGrid(float.NaN, -8, 7, 0), all);
        Assert.All(all, value => Assert.Equal(float.NaN, value));
    }

    private static TrainingGrid Grid(QuantizationParameters parameters, CodeRange codes, float shift) =>
        new(parameters.Scale, codes.Min - parameters.ZeroPoint, codes.Max - parameters.ZeroPoint, shift);

    // Which NaN it is, instruction sets do not agree on.
    private static int Bits(float value) => BitConverter.SingleToInt32Bits(float.IsNaN(value) ? float.NaN : value);

    private static long Bits(double value) => BitConverter.DoubleToInt64Bits(double.IsNaN(value) ? double.NaN : value);

    private static void AssertSame(ReadOnlySpan<float> expected, ReadOnlySpan<float> found) =>
        Assert.Equal(Array.ConvertAll(expected.ToArray(), Bits), Array.ConvertAll(found.ToArray(), Bits));

    private static void AssertSame(GridGradient expected, GridGradient found) =>
        Assert.Equal((Bits(expected.Scale), Bits(expected.Outside)), (Bits(found.Scale), Bits(found.Outside)));
}
