using Nibble.Numerics;

namespace Nibble.Tests.Numerics;

public class FakeQuantizerTests
{
    private static readonly Gen<Granularity> Granularities =
        Gen.OneOf(Gen.Const(Granularity.Tensor), Gen.Const(Granularity.Channel), Gen.Const(Granularity.Token), Gen.Int[1, 40].Select(Granularity.Group));

    private static readonly Gen<QuantizationScheme> Schemes =
        from granularity in Granularities
        from bits in Gen.Int[1, 8]
        from symmetric in Gen.Bool
        from precision in Gen.Enum<ScalePrecision>()
        select (bits == 1 ? QuantizationScheme.CreateTernary(granularity)
            : new QuantizationScheme(bits, symmetric, granularity)) with
        { ScalePrecision = precision };

    private static readonly Gen<(int Rows, int Columns)> Shapes = Gen.Select(Gen.Int[1, 5], Gen.Int[1, 90]);

    [Fact]
    public void ForwardPutsEachValueOnTheGridOfItsGroup() =>
        Gen.Select(Schemes, Shapes, Gen.Int[0, 1 << 20]).Sample((scheme, shape, seed) =>
        {
            var (values, scales, zeroPoints) = Make(scheme, shape, seed);
            var found = new float[values.Length];
            FakeQuantizer.Forward(values, new GroupGrids(scales, zeroPoints, shape.Columns, scheme.Granularity, scheme.Codes), found, 1);
            Assert.Equal(values.Select((value, i) => ScalarQuantizer.FakeQuantize(value, Parameters(i), scheme.Codes)), found);

            QuantizationParameters Parameters(int i)
            {
                var group = GroupOf(i, shape, scheme.Granularity);
                return new QuantizationParameters(scales[group], scheme.Symmetric ? 0 : (int)zeroPoints[group]);
            }
        });

    [Fact]
    public void BackwardSumsTheGradientsOfEachGroup() =>
        Gen.Select(Schemes, Shapes, Gen.Int[0, 1 << 20]).Sample((scheme, shape, seed) =>
        {
            var (values, scales, zeroPoints) = Make(scheme, shape, seed);
            var gradients = Array.ConvertAll(values, value => MathF.Cos(1e4f * value));
            var (ofValues, ofScales, ofZeroPoints) = (new float[values.Length], new float[scales.Length], new float[scales.Length]);
            FakeQuantizer.Backward(values, gradients, new GroupGrids(scales, zeroPoints, shape.Columns, scheme.Granularity, scheme.Codes), ofValues, ofScales,
                ofZeroPoints, 1);

            var (expected, scaleSums, outsideSums) = (new float[values.Length], new double[scales.Length], new double[scales.Length]);
            for (var i = 0; i < values.Length; i++)
            {
                var group = GroupOf(i, shape, scheme.Granularity);
                var zeroPoint = scheme.Symmetric ? 0 : zeroPoints[group];
                var (low, high) = (scheme.Codes.Min - zeroPoint, scheme.Codes.Max - zeroPoint);
                var steps = values[i] / scales[group];
                var inside = MathF.Round(steps) >= low && MathF.Round(steps) <= high;
                expected[i] = inside ? gradients[i] : 0;
                scaleSums[group] += gradients[i] * (inside ? (double)(MathF.Round(steps) - steps) : steps < low ? low : high);
                outsideSums[group] += inside ? 0 : gradients[i] * -(double)scales[group];
            }

            Assert.Equal(expected, ofValues);
            Assert.All(scaleSums.Zip(ofScales), pair => Assert.Equal(pair.First, pair.Second, 1e-6 * (1 + (128 * values.Length))));
            Assert.All(outsideSums.Zip(ofZeroPoints), pair => Assert.Equal(pair.First, pair.Second, 1e-6 * (1 + (10 * values.Length))));
        });

    /// <summary>What docs/explanation/training.md says of the ends: the code decides, not the value.</summary>
    [Theory]
    [InlineData(7f, true, 0)]
    [InlineData(7.4f, true, 7 - 7.4)]
    [InlineData(7.6f, false, 7)]
    [InlineData(7.5f, false, 7)]
    [InlineData(-8.4f, true, -8 + 8.4)]
    [InlineData(-8.5f, true, 0.5)]
    [InlineData(-8.6f, false, -8)]
    public void BackwardAsksTheCodeWhetherAValueIsInside(float steps, bool inside, double ofScale)
    {
        const float Scale = 0.5f;
        var (ofValue, ofScales, ofZeroPoints) = (new float[1], new float[1], new float[1]);
        FakeQuantizer.Backward([Scale * steps], [3f], new GroupGrids([Scale], [0f], 1, Granularity.Channel, new CodeRange(-8, 7)), ofValue, ofScales,
            ofZeroPoints, 1);
        Assert.Equal(inside ? 3f : 0, ofValue[0]);
        Assert.Equal(3 * ofScale, ofScales[0], 1e-5);
        Assert.Equal(inside ? 0 : -Scale * 3, ofZeroPoints[0]);
    }

    /// <summary>A stretched grid rounds down, so that its highest code reaches up to the next one.</summary>
    [Theory]
    [InlineData(1f, true, 0.5)]
    [InlineData(1.9f, true, -0.4)]
    [InlineData(2f, false, 1.5)]
    [InlineData(-2f, true, 0.5)]
    [InlineData(-2.1f, false, -1.5)]
    public void BackwardOfAStretchedGridRoundsDown(float steps, bool inside, double ofScale)
    {
        var (ofValue, ofScales) = (new float[1], new float[1]);
        FakeQuantizer.Backward([steps], [2f], new GroupGrids([1f], [], 1, Granularity.Channel, new CodeRange(-2, 1), 0.5f), ofValue, ofScales, [], 1);
        Assert.Equal(inside ? 2f : 0, ofValue[0]);
        Assert.Equal(2 * ofScale, ofScales[0], 1e-5);
    }

    [Fact]
    public void MinMaxEqualsTheScalarFormulaOnEachGroup() =>
        Gen.Select(Schemes, Shapes, Gen.Int[0, 1 << 20]).Sample((scheme, shape, seed) =>
        {
            var (values, _, _) = Make(scheme, shape, seed);
            var groups = Enumerable.Range(0, values.Length).ToLookup(i => GroupOf(i, shape, scheme.Granularity), i => values[i]);
            var parameters = groups.ToDictionary(
                group => group.Key, group => QuantizationParameters.FromRange(new ValueRange(group.Min(), group.Max()), scheme));
            var expected = values.Select((value, i) => ScalarQuantizer.FakeQuantize(value, parameters[GroupOf(i, shape, scheme.Granularity)], scheme.Codes));
            var found = new float[values.Length];
            FakeQuantizer.MinMax(values, shape.Columns, scheme, found, 1);
            Assert.Equal(expected, found);
        });

    [Theory]
    [InlineData(float.NaN)]
    [InlineData(float.PositiveInfinity)]
    [InlineData(1e6f)]
    public void MinMaxOfAGroupThatHasNoGridIsNaN(float value)
    {
        // 1e6 / 7.5 is more than binary16 holds.
        var scheme = new QuantizationScheme(4, symmetric: true, Granularity.Group(2)) { ScalePrecision = ScalePrecision.Float16 };
        float[] values = [1, 2, value, 3, 4];
        FakeQuantizer.MinMax(values, 5, scheme, values, 1);
        Assert.Equal([false, false, true, true, false], values.Select(float.IsNaN));
        float[] tensor = [1, value];
        FakeQuantizer.MinMax(tensor, 1, new QuantizationScheme(4, symmetric: true, Granularity.Tensor) { ScalePrecision = ScalePrecision.Float16 }, tensor, 1);
        Assert.All(tensor, found => Assert.Equal(float.NaN, found));
    }

    [Theory]
    [InlineData(null)]
    [InlineData(0)]
    [InlineData(64)]
    public void NoResultDependsOnTheNumberOfThreads(int? groupSize)
    {
        const int Rows = 301;
        const int Columns = 700;
        var granularity = groupSize switch { null => Granularity.Tensor, 0 => Granularity.Channel, { } size => Granularity.Group(size) };
        var scheme = new QuantizationScheme(4, symmetric: false, granularity);
        var (values, scales, zeroPoints) = Make(scheme, (Rows, Columns), 1);
        var gradients = Array.ConvertAll(values, MathF.Sin);
        var results = Enumerable.Range(1, 3).Select(threads =>
        {
            var (forward, ranged, ofValues, ofScales, ofZeroPoints) =
                (new float[values.Length], new float[values.Length], new float[values.Length], new float[scales.Length], new float[scales.Length]);
            var grids = new GroupGrids(scales, zeroPoints, Columns, granularity, scheme.Codes);
            FakeQuantizer.Forward(values, grids, forward, threads);
            FakeQuantizer.MinMax(values, Columns, scheme, ranged, threads);
            FakeQuantizer.Backward(values, gradients, grids, ofValues, ofScales, ofZeroPoints, threads);
            return (float[])[.. forward, .. ranged, .. ofValues, .. ofScales, .. ofZeroPoints];
        }).ToArray();
        Assert.Equal(results[0], results[1]);
        Assert.Equal(results[0], results[2]);
        Assert.Contains(results[0], value => value != 0);
    }

    [Fact]
    public void BackwardWritesOnlyWhatIsWantedAndInPlace()
    {
        float[] values = [0.6f, 9, -9];
        float[] gradients = [1, 2, 3];
        var (ofScale, ofZeroPoint) = (new float[1], new float[1]);
        var grids = new GroupGrids([1f], [], 3, Granularity.Channel, new CodeRange(-8, 7));
        FakeQuantizer.Backward(values, gradients, grids, [], ofScale, [], 1);
        FakeQuantizer.Backward(values, gradients, grids, [], [], ofZeroPoint, 1);
        Assert.Equal(0.4 + 14 - 24, ofScale[0], 1e-5);
        Assert.Equal([-5f], ofZeroPoint);
        FakeQuantizer.Backward(values, gradients, grids, gradients, [], [], 1);
        Assert.Equal([1f, 0, 0], gradients);
    }

    [Fact]
    public void NothingIsFakeQuantizedToNothing()
    {
        FakeQuantizer.Forward([], new GroupGrids([], [], 3, Granularity.Channel, new CodeRange(-8, 7)), [], 1);
        FakeQuantizer.MinMax([], 3, new QuantizationScheme(4, true, Granularity.Tensor), [], 1);
    }

    [Fact]
    public void WrongLengthsAndShiftsAreRefused()
    {
        var (values, two, codes) = (new float[6], new float[2], new CodeRange(-8, 7));
        Assert.Throws<ArgumentException>(() => FakeQuantizer.Forward(values, new GroupGrids(two, [], 4, Granularity.Channel, codes), values, 1));
        Assert.Throws<ArgumentException>(() => FakeQuantizer.Forward(values, new GroupGrids(two, [], 3, Granularity.Group(2), codes), values, 1));
        Assert.Throws<ArgumentException>(() => FakeQuantizer.Forward(values, new GroupGrids(two, [0], 3, Granularity.Channel, codes), values, 1));
        Assert.Throws<ArgumentException>(() => FakeQuantizer.Forward(values, new GroupGrids(two, [], 3, Granularity.Channel, codes), two, 1));
        Assert.Throws<ArgumentException>(() => FakeQuantizer.Backward(values, two, new GroupGrids(two, [], 3, Granularity.Channel, codes), [], two, [], 1));
        Assert.Throws<ArgumentException>(
            () => FakeQuantizer.Backward(values, values, new GroupGrids(two, [], 3, Granularity.Channel, codes), [], values, [], 1));
        Assert.Throws<ArgumentException>(() => FakeQuantizer.MinMax(values, 4, new QuantizationScheme(4, true, Granularity.Channel), values, 1));
        Assert.Throws<ArgumentOutOfRangeException>(() => new GroupGrids(two, [], 3, Granularity.Channel, codes, 0.25f).Shift);
    }

    private static int GroupOf(int i, (int Rows, int Columns) shape, Granularity granularity) => granularity switch
    {
        PerTensor => 0,
        PerGroup { Size: var size } => (i / shape.Columns * ((shape.Columns + size - 1) / size)) + (i % shape.Columns / size),
        _ => i / shape.Columns,
    };

    /// <summary>Values of which some lie outside the grids, powers of two among the scales so that ties occur.</summary>
    private static (float[] Values, float[] Scales, float[] ZeroPoints) Make(QuantizationScheme scheme, (int Rows, int Columns) shape, int seed)
    {
        var random = new Random(seed);
        var groups = QuantizedTensor.GroupCount(shape.Rows, shape.Columns, scheme.Granularity);
        var scales = Enumerable.Range(0, groups).Select(i => i % 2 == 0 ? 0.5f : 0.1f + random.NextSingle()).ToArray();
        var zeroPoints = scheme.Symmetric ? [] : Enumerable.Range(0, groups).Select(_ => (float)random.Next(scheme.Codes.Min, scheme.Codes.Max + 1)).ToArray();
        var values = Enumerable.Range(0, shape.Rows * shape.Columns)
            .Select(i => i % 5 == 0 ? random.Next(-40, 40) / 4f : (random.NextSingle() - 0.5f) * scheme.Codes.Steps).ToArray();
        return (values, scales, zeroPoints);
    }
}
