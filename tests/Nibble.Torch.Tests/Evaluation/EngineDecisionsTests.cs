using Nibble.Artifacts;
using Nibble.Numerics;
using Nibble.Recipes;
using Nibble.Torch.Evaluation;
using Nibble.Torch.Layers;
using Nibble.Torch.Native;
using static TorchSharp.torch;

namespace Nibble.Torch.Tests.Evaluation;

/// <summary>One layer whose weight is the identity, so that its output is its quantized input.</summary>
public sealed class EngineDecisionsTests
{
    private const string Name = "layer";

    private static readonly ActivationQuantization Static = new(
        new QuantizationScheme(8, symmetric: false, Granularity.Tensor), new QuantizationParameters(0.5f, 3));
    private static readonly ActivationQuantization Dynamic = new(new QuantizationScheme(8, symmetric: true, Granularity.Token), null);

    // 1.2495 lies a thousandth of a step below the tie between codes 5 and 6 (2.5 steps and the zero point 3), 1.2 a tenth.
    private static readonly float[] Values = [0, 1.2495f, 1.2f, 100];
    private static readonly sbyte[] Codes = [3, 5, 5, 127];
    private static readonly bool[] OneOfTwo = [true, false];

    public EngineDecisionsTests() => TorchRuntime.EnsureLoaded();

    [Fact]
    public void EqualCodesLeaveTheOutputAsItIs()
    {
        var (output, compared) = Run(Static, Values, new TokenCodes(Codes, [0.5f], [3]));
        Assert.Equal(new CodeComparison(4, 0, 0, 0), compared);
        Assert.Equal([0, 1, 1, 62], output);
    }

    [Fact]
    public void ATieIsDecidedAsInTheEngine()
    {
        var (output, compared) = Run(Static, Values, new TokenCodes([3, 6, 5, 127], [0.5f], [3]));
        Assert.Equal((4, 1, 0), (compared.Codes, compared.Ties, compared.Mismatches));
        Assert.Equal(0.001, compared.Farthest, 1e-5);
        Assert.Equal([0, 1.5f, 1, 62], output);
    }

    [Theory]
    [InlineData(2, 6)]
    [InlineData(1, 7)]
    [InlineData(3, 126)]
    public void AnotherCodeIsAMismatchAndNotTaken(int position, sbyte code)
    {
        sbyte[] codes = [.. Codes];
        codes[position] = code;
        var (output, compared) = Run(Static, Values, new TokenCodes(codes, [0.5f], [3]));
        Assert.Equal(new CodeComparison(4, 0, 1, 0), compared);
        Assert.Equal([0, 1, 1, 62], output);
    }

    [Theory]
    [InlineData(0.500001f, 3)]
    [InlineData(0.5f, 4)]
    public void AnotherScaleOrZeroPointMismatchesThroughout(float scale, float zeroPoint)
    {
        var (output, compared) = Run(Static, Values, new TokenCodes(Codes, [scale], [zeroPoint]));
        Assert.Equal(4, compared.Mismatches);
        Assert.Equal([0, 1, 1, 62], output);
    }

    [Fact]
    public void ScalesOfTokensMayDifferByRounding()
    {
        // Scales 2 and 1, the largest magnitudes over 127.5; so -255 is at a tie by itself.
        float[] values = [-255, 2, 127.5f, 3];
        sbyte[] codes = [-127, 1, 127, 3];
        float[] close = [2 * (1 + 1e-5f), 1];
        var (output, compared) = Run(Dynamic, values, new TokenCodes(codes, close, [0]), width: 2);
        Assert.Equal(0, compared.Mismatches);
        Assert.Equal([-127 * close[0], close[0], 127, 3], output);

        (output, compared) = Run(Dynamic, values, new TokenCodes(codes, [2.001f, 1], [0]), width: 2);
        Assert.Equal(2, compared.Mismatches);
        Assert.Equal([-256, 2, 127, 3], output);
    }

    [Fact]
    public void AZeroPointAtATieIsTakenWithAllThatItMoves()
    {
        // -128 + 27.5 lies between the zero points -101 and -100 with the scale 1; one that rounds to the even -100.
        var input = Dynamic with { Scheme = new QuantizationScheme(8, symmetric: false, Granularity.Token) };
        float[] values = [-27.5f, 227.5f, 10, 0];
        var (output, compared) = Run(input, values, new TokenCodes([-128, 126, -91, -101], [1], [-101]));
        Assert.Equal(0, compared.Mismatches);
        Assert.Equal([-27, 227, 10, 0], output);
    }

    [Fact]
    public void AZeroPointFollowsFromTheEnginesScale()
    {
        // The scale lies between two of float16. With 2 the zero point is -128 + 101.48, with the one below -128 + 101.53: -27 and -26, and neither at a tie.
        var input = Dynamic with { Scheme = new QuantizationScheme(8, symmetric: false, Granularity.Token) { ScalePrecision = ScalePrecision.Float16 } };
        var below = (float)Half.BitDecrement((Half)2f);
        float middle = (2 + below) / 2;
        float[] values = [-202.96f, (255 * middle) - 202.96f, 0, 0];
        var own = QuantizationParameters.FromRange(new ValueRange(values[0], values[1]), input.Scheme);
        var other = own.Scale == 2 ? below : 2;
        var zeroPoint = (float)Math.Round(-128 + (202.96 / other), MidpointRounding.ToEven);
        sbyte[] codes = [.. values.Select(value => ScalarQuantizer.Quantize(value, new QuantizationParameters(other, (int)zeroPoint), input.Scheme.Codes))];
        var (output, compared) = Run(input, values, new TokenCodes(codes, [other], [zeroPoint]));
        Assert.NotEqual(own.ZeroPoint, zeroPoint);
        Assert.Equal(0, compared.Mismatches);
        Assert.Equal((codes[0] - zeroPoint) * other, output[0]);
    }

    [Fact]
    public void CodesThatAreMissingAllMismatch()
    {
        Assert.Equal(new CodeComparison(4, 0, 4, 0), Run(Static, Values, null).Compared);
        Assert.Equal(new CodeComparison(4, 0, 4, 0), Run(Static, Values, new TokenCodes([1, 2], [0.5f], [3])).Compared);
    }

    [Fact]
    public void PaddingIsNotCompared()
    {
        using var scope = NewDisposeScope();
        float[] values = [.. Values, 7, 8, 9, 10];
        using var pass = TokenMask.Begin(tensor(OneOfTwo).view(1, 2));
        var (output, compared) = Run(Static, values, new TokenCodes([3, 6, 5, 127, 1, 2, 3, 4], [0.5f], [3]));
        Assert.Equal((4, 1, 0), (compared.Codes, compared.Ties, compared.Mismatches));
        Assert.Equal([0, 1.5f, 1, 62, 7, 8, 9, 10], output);
        Assert.Equal(new CodeComparison(4, 0, 4, 0), Run(Static, values, null).Compared);
    }

    private static (float[] Output, CodeComparison Compared) Run(ActivationQuantization input, float[] values, TokenCodes? engine, int width = 4)
    {
        using var scope = NewDisposeScope();
        using var linear = new QuantizableLinear(nn.Parameter(eye(width)), null);
        var own = new DynamicInputQuantizer(Dynamic.Scheme);
        linear.InputQuantizer = own;
        var weight = new QuantizedTensor(1, 1, new QuantizationScheme(8, true, Granularity.Channel), [1], [1], []);
        var model = new QuantizedModel(
            "{}", [new QuantizedLayer(Name, weight, input)], [], new Recipe("test", []),
            new Provenance("0", "ptq", 0, new Dictionary<string, string>(), new Dictionary<string, double>()), string.Empty);
        var decisions = new EngineDecisions([KeyValuePair.Create(Name, linear)], model);
        var engines = engine is null ? new Dictionary<string, TokenCodes>() : new Dictionary<string, TokenCodes> { [Name] = engine };
        var (output, layers) = decisions.Run(engines, () => linear.forward(tensor(values).view(1, -1, width)));
        Assert.Same(own, linear.InputQuantizer);
        Assert.Equal(Name, Assert.Single(layers).Key);
        return (output.data<float>().ToArray(), layers[0].Value);
    }
}
