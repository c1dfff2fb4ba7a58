using Nibble.Algorithms;
using Nibble.Numerics;
using Nibble.Recipes;
using Rtn = Nibble.Algorithms.RoundToNearest;

namespace Nibble.Tests.Algorithms;

/// <summary>Groups that searches can stumble over: constant, nearly so, all zero but one weight, of one sign, denormal, huge.</summary>
public class DegenerateGroupTests
{
    private const int Columns = 32;

    private static readonly Gen<float[]> Groups =
        from kind in Gen.Int[0, 8]
        from size in Gen.OneOf(Gen.Float[0.01f, 4], Gen.Const(1e-42f), Gen.Const(1e-30f), Gen.Const(1e30f), Gen.Const(1e38f), Gen.Const(65504f))
        from sign in Gen.OneOf(Gen.Const(1f), Gen.Const(-1f))
        from spread in Gen.OneOf(Gen.Const(1e-7f), Gen.Const(1e-3f), Gen.Const(0.1f))
        from noise in Gen.Float[-1, 1].Array[Columns]
        select Enumerable.Range(0, Columns).Select(i => sign * size * (kind switch
        {
            0 => 1,
            1 => 1 - (spread * MathF.Abs(noise[i])),
            2 => i == 5 ? 1 : 0,
            3 => i == 5 ? 1 : 0.25f,
            4 => MathF.Abs(noise[i]),
            5 => noise[i] > 0 ? 1 : 0.5f,
            6 => noise[i] > 0 ? 1 : -1,
            7 => 0,
            _ => 0.9f + (0.1f * MathF.Abs(noise[i])),
        })).ToArray();

    private static readonly Gen<QuantizationScheme> Schemes =
        from bits in Gen.Int[2, 8]
        from symmetric in Gen.Bool
        from granularity in Gen.OneOf(Gen.Const(Granularity.Group(16)), Gen.Const(Granularity.Channel), Gen.Const(Granularity.Tensor))
        select new QuantizationScheme(bits, symmetric, granularity) { ScalePrecision = ScalePrecision.Float32 };

    /// <summary>
    /// No algorithm is worse than the whole range is, by more than rounding; HQQ, which looks at another norm, and GPTQ, whose columns make up for each
    /// other, stay within the range's step.
    /// </summary>
    [Fact]
    public void NoAlgorithmLosesAGroup() => Gen.Select(Groups, Schemes, Gen.Int[0, 2]).Sample(
        (weights, scheme, importanceKind) =>
        {
            var plain = Rtn.Quantize(weights, 1, Columns, scheme);
            float[] importance = [.. Enumerable.Range(0, Columns).Select(i => importanceKind == 0 ? 0 : importanceKind == 1 ? i % 3 : 1f)];
            var counted = importance.All(value => value == 0) ? [.. Enumerable.Repeat(1f, Columns)] : importance;
            Assert.True(Error(weights, Rtn.Quantize(weights, 1, Columns, scheme, WeightRange.Mse), null) <= Error(weights, plain, null));
            Assert.True(Error(weights, Rtn.Quantize(weights, 1, Columns, scheme, WeightRange.Search), null) <= Error(weights, plain, null) * (1 + 1e-6));
            var weighted = Nibble.Algorithms.ImportanceWeighted.Quantize(weights, 1, Columns, scheme, importance);
            Assert.True(Error(weights, weighted, counted) <= Error(weights, plain, counted) * (1 + 1e-6));

            var range = weights.Max(MathF.Abs) / (double)((1 << (scheme.Bits - 1)) - 0.5) * (scheme.Symmetric ? 1 : 2);
            Within(Nibble.Algorithms.Hqq.Quantize(weights, 1, Columns, scheme), weights, 2 * range);

            // Errors are added up in binary32 there, and what grows beyond it is refused.
            foreach (var mode in weights.Max(MathF.Abs) < 1e6f ? Enum.GetValues<WeightRange>() : [])
            {
                var hessian = new float[Columns * Columns];
                for (var i = 0; i < Columns; i++)
                {
                    hessian[(i * Columns) + i] = importance[i] + 1;
                }

                var options = new GptqOptions { Range = mode };
                var result = Nibble.Algorithms.Gptq.Quantize(weights, 1, Columns, scheme, HessianFactor.Create(hessian, Columns), options);
                Within(result.Weight, weights, 2 * range);
            }
        },
        iter: 400);

    /// <summary>Asymmetric codes hold one constant to the last bits of its scale, whichever algorithm chose them.</summary>
    [Fact]
    public void AConstantGroupKeepsItsValue() => Gen.Select(Gen.Float[-3, 3].Where(value => value != 0), Gen.Int[2, 8]).Sample(
        (value, bits) =>
        {
            float[] weights = [.. Enumerable.Repeat(value, Columns)];
            var scheme = new QuantizationScheme(bits, symmetric: false, Granularity.Group(Columns)) { ScalePrecision = ScalePrecision.Float16 };
            QuantizedTensor[] all =
            [
                .. Enum.GetValues<WeightRange>().Select(range => Rtn.Quantize(weights, 1, Columns, scheme, range)),
                Nibble.Algorithms.Hqq.Quantize(weights, 1, Columns, scheme),
                Nibble.Algorithms.ImportanceWeighted.Quantize(weights, 1, Columns, scheme, new float[Columns]),
            ];
            Assert.All(all, tensor => Within(tensor, weights, Math.Abs(value) / 1000.0 + 1e-4));
        },
        iter: 200);

    private static void Within(QuantizedTensor tensor, float[] weights, double allowed)
    {
        Assert.Null(new Nibble.Artifacts.QuantizedLayer("layer", tensor, Input: null).FindFault());
        var found = tensor.Dequantize();
        Assert.All(Enumerable.Range(0, weights.Length), i => Assert.InRange(Math.Abs(weights[i] - (double)found[i]), 0, allowed + 1e-37));
    }

    private static double Error(float[] weights, QuantizedTensor tensor, float[]? importance)
    {
        var found = tensor.Dequantize();
        return Enumerable.Range(0, weights.Length).Sum(i => (importance?[i] ?? 1) * Math.Pow(weights[i] - (double)found[i], 2));
    }
}
