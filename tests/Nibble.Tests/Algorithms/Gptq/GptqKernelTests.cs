using Nibble.Tests.Numerics.Kernels;
using System.Runtime.InteropServices;
using System.Security.Cryptography;
using Nibble.Algorithms;
using Nibble.Numerics;
using Nibble.Recipes;
using Solver = Nibble.Algorithms.Gptq;

namespace Nibble.Tests.Algorithms;

/// <summary>Every kernel of this machine against the scalar specification, bit for bit.</summary>
public class GptqKernelTests
{
    private const int Columns = 21;
    private const int Rows = IGptqKernel.Rows;

    public static TheoryData<string> Names { get; } = [.. GptqKernels.Available.Select(kernel => kernel.Name)];

    [Theory]
    [MemberData(nameof(Names))]
    public unsafe void AccumulateEqualsTheSpecificationOnEveryLengthAndTile(string name)
    {
        var kernel = GptqKernels.Available.Single(candidate => candidate.Name == name);
        var tiles = (Columns + PackedFactor.Width - 1) / PackedFactor.Width;
        var gen = Gen.Select(Gens.Finite.Array[(int)PackedFactor.TileOffset(tiles)], Gens.Finite.Array[Columns * Rows],
            Gens.Finite.Array[tiles * PackedFactor.Width * Rows]);
        gen.Sample(
            (factor, changes, before) =>
            {
                for (var first = 0; first < tiles; first++)
                {
                    for (var to = 0; to <= Math.Min((first + 1) * PackedFactor.Width, Columns); to++)
                    {
                        var from = to / 3;
                        var (expected, found) = ((float[])before.Clone(), (float[])before.Clone());
                        fixed (float* f = factor, c = changes, e = expected, g = found)
                        {
                            ScalarGptqKernel.AccumulateRows(f, first, tiles, from, to, c, e, 0);
                            kernel.Accumulate(f, first, tiles, from, to, c, g);
                        }

                        AssertSameBits(expected, found);
                    }
                }
            },
            iter: 20);
    }

    [Fact]
    public unsafe void AccumulateAddsProductsInRisingOrder()
    {
        // 1e8 + 1 - 1e8 is 0 or 1, by the order.
        var factor = Enumerable.Repeat(1f, (int)PackedFactor.TileOffset(1)).ToArray();
        var (changes, sums) = (new float[3 * Rows], new float[PackedFactor.Width * Rows]);
        (changes[5], changes[Rows + 5], changes[(2 * Rows) + 5]) = (1e8f, -1e8f, 1);
        fixed (float* f = factor, c = changes, s = sums)
        {
            GptqKernels.Active.Accumulate(f, 0, 1, 0, 3, c, s);
        }

        Assert.Equal([1, 1, 1, 1], Enumerable.Range(0, PackedFactor.Width).Select(column => sums[(column * Rows) + 5]));
        Assert.Equal(4, sums.Sum());
    }

    [Theory]
    [MemberData(nameof(Names))]
    public unsafe void QuantizeEqualsTheSpecification(string name)
    {
        var kernel = GptqKernels.Available.Single(candidate => candidate.Name == name);
        var gen =
            from quantization in Gens.Quantization.Array[Rows]
            let codes = quantization[0].Codes
            from weights in Gens.Any.Array[Rows]
            from sums in Gens.Any.Array[Rows]
            from diagonal in Gen.Float[0.1f, 10]
            select (codes, weights, sums, diagonal, Array.ConvertAll(quantization, q => q.Parameters.Scale),
                Array.ConvertAll(quantization, q => Math.Clamp(q.Parameters.ZeroPoint, codes.Min, codes.Max)));
        gen.Sample(
            (codes, weights, sums, diagonal, scales, zeroPoints) =>
            {
                var (expected, expectedCodes, expectedLosses) = Run(new ScalarGptqKernel());
                var (found, foundCodes, foundLosses) = Run(kernel);
                Assert.Equal(expectedCodes, foundCodes);
                AssertSameBits(expected, found);
                AssertSameBits(expectedLosses, foundLosses);
                for (var row = 0; row < Rows; row++)
                {
                    var weight = MathF.FusedMultiplyAdd(sums[row], 1 / diagonal, weights[row]);
                    Assert.Equal(ScalarQuantizer.Quantize(weight, new QuantizationParameters(scales[row], zeroPoints[row]), codes), foundCodes[row]);
                }

                (float[] Changes, sbyte[] Codes, float[] Losses) Run(IGptqKernel used)
                {
                    var (changes, result, losses) = ((float[])weights.Clone(), new sbyte[Rows], Enumerable.Repeat(1f, Rows).ToArray());
                    fixed (float* w = changes, s = sums, scale = scales, l = losses)
                    fixed (int* z = zeroPoints)
                    fixed (sbyte* c = result)
                    {
                        used.Quantize(new GptqColumn(w, s, diagonal, 1 / diagonal, scale, z, c, l), codes);
                    }

                    return (changes, result, losses);
                }
            },
            iter: 300);
    }

    /// <summary>Runs with each kernel and each instruction set switched off, by <see cref="InstructionSetTests"/>: codes, scales and loss must be the same
    /// everywhere.</summary>
    [Fact]
    public void ALayerHasTheSameResultOnEveryMachine()
    {
        const int LayerColumns = 200;
        var random = new Random(1);
        var weights = Enumerable.Range(0, 30 * LayerColumns).Select(_ => random.NextSingle() - 0.5f).ToArray();
        var inputs = Enumerable.Range(0, 300 * LayerColumns).Select(i => (random.Next(-8, 9) * (1 + (i % 7))) + random.Next(3)).ToArray();
        var hessian = new float[LayerColumns * LayerColumns];
        for (var i = 0; i < hessian.Length; i++)
        {
            hessian[i] = Enumerable.Range(
                0, 300).Sum(sample => inputs[(sample * LayerColumns) + (i / LayerColumns)] * inputs[(sample * LayerColumns) + (i % LayerColumns)]);
        }

        var scheme = new QuantizationScheme(4, symmetric: false, Granularity.Group(48));
        var options = new GptqOptions { Order = ActivationOrder.Group, Range = WeightRange.Mse, WeighByImportance = true };
        var result = Solver.Quantize(
            weights, 30, LayerColumns, scheme, HessianFactor.Create(hessian, LayerColumns, byActivation: true), options, TestContext.Current.CancellationToken);
        var bytes = MemoryMarshal.AsBytes(result.Weight.Codes.AsSpan()).ToArray()
            .Concat(MemoryMarshal.AsBytes(result.Weight.Scales.AsSpan()).ToArray())
            .Concat(BitConverter.GetBytes(result.Loss));
        Assert.Equal("45B29A5AAB27AD74", Convert.ToHexString(SHA256.HashData([.. bytes]))[..16]);
    }

    // NaN has many bit patterns, and instruction sets pick different ones.
    private static void AssertSameBits(ReadOnlySpan<float> expected, ReadOnlySpan<float> found) =>
        Assert.Equal(Bits(expected), Bits(found));

    private static int[] Bits(ReadOnlySpan<float> values) =>
        Array.ConvertAll(values.ToArray(), value => float.IsNaN(value) ? -1 : BitConverter.SingleToInt32Bits(value));
}
