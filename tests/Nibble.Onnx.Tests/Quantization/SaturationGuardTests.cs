using System.Runtime.Intrinsics.X86;
using Nibble.Numerics;
using Nibble.Onnx.Graphs;
using Nibble.Onnx.Quantization;
using Nibble.Onnx.Quantization.Dynamic;

namespace Nibble.Onnx.Tests.Quantization;

public sealed class SaturationGuardTests
{
    private const int Inputs = 65;
    private const int Outputs = 24;
    private const int Rows = 4;

    // Processors with VNNI add products of bytes in 32 bits. Leaf 7 of CPUID: AVX-512 VNNI is bit 11 of ECX, AVX-VNNI is bit 4 of EAX of its subleaf 1.
    private static bool Saturates => Avx2.IsSupported
        && (X86Base.CpuId(7, 0).Ecx >> 11 & 1) == 0 && (X86Base.CpuId(7, 0).Eax < 1 || (X86Base.CpuId(7, 1).Eax >> 4 & 1) == 0);

    [Fact]
    public void TheScaleIsTheSmallestWhosePairsFit() => Gen.Select(Gen.Float[-1, 1].Array[1, 70], Gen.Float[0.002f, 0.02f]).Sample((weights, scale) =>
    {
        var guarded = SaturationGuard.Guard(weights, scale, out var changed);
        Assert.Equal(changed, !SaturationGuard.IsSafe(Codes(weights, scale)));
        Assert.True(SaturationGuard.IsSafe(Codes(weights, guarded)));
        Assert.Equal(changed, guarded > scale);
        Assert.True(!changed || !SaturationGuard.IsSafe(Codes(weights, BitConverter.Int32BitsToSingle(BitConverter.SingleToInt32Bits(guarded) - 1))));
        Assert.Equal(guarded, SaturationGuard.SafeScale(weights, scale));
    });

    [Fact]
    public void PairsAreThoseOfTheProcessor()
    {
        for (var first = -128; first <= 127; first++)
        {
            for (var second = -128; second <= 127; second++)
            {
                // The left factors, from 0 to 255, reach every corner of the sum.
                var high = (255 * Math.Max(first, 0)) + (255 * Math.Max(second, 0));
                var low = (255 * Math.Min(first, 0)) + (255 * Math.Min(second, 0));
                Assert.Equal(high <= short.MaxValue && low >= short.MinValue, SaturationGuard.IsSafe([(sbyte)first, (sbyte)second]));
            }
        }
    }

    [Fact]
    public void OnlyNeighboursInAnOrderAreAdded()
    {
        float[] weights = [127, 0, 100, 1];
        Assert.Equal(1, SaturationGuard.Guard(weights, 1, out var changed));
        Assert.False(changed);
        Assert.Equal(1, SaturationGuard.Guard(weights, [[0, 1, 2, 3], [0, SaturationGuard.Padding, 2, SaturationGuard.Padding]], 1, out _));
        var guarded = SaturationGuard.Guard(weights, [[0, 1, 2, 3], [0, 2, 1, 3]], 1, out changed);
        Assert.True(changed);
        Assert.InRange(Math.Round(127 / guarded) + Math.Round(100 / guarded), 127, 128);
    }

    [Fact]
    public void SessionsWithDefaultOptionsComputeGuardedFilesExactly()
    {
        using var test = Product();
        float[] x = [.. Enumerable.Range(0, Rows * Inputs).Select(i => i % 7 == 0 ? 0 : 1f)];
        var guarded = test.Read();
        Assert.Equal(Outputs, DynamicQuantizer.Apply(guarded, new DynamicOptions())[0].GuardedChannels);
        Assert.Equal(Run(test, guarded, x, isDefault: false), Run(test, guarded, x, isDefault: true));

        var unguarded = test.Read();
        Assert.Equal(0, DynamicQuantizer.Apply(unguarded, new DynamicOptions { GuardSaturation = false })[0].GuardedChannels);
        Assert.Equal(Saturates, !Run(test, unguarded, x, isDefault: false).AsSpan().SequenceEqual(Run(test, unguarded, x, isDefault: true)));
    }

    private static float[] Run(TestGraph test, object graph, float[] x, bool isDefault) => test.Run((OnnxGraph)graph, isDefault, ("x", x, [Rows, Inputs]));

    /// <summary>A product whose codes are all near 127.</summary>
    private static TestGraph Product()
    {
        var test = new TestGraph();
        var x = test.Builder.Input("x", OnnxType.Float32, "rows", Inputs);
        float[] weight = [.. Enumerable.Range(0, Inputs * Outputs).Select(i => 1 - (0.001f * (i % 50)))];
        test.Builder.Output(test.Builder.Node("MatMul", [x, test.Constant("w", weight, Inputs, Outputs)]), "y", OnnxType.Float32, "rows", Outputs);
        return test;
    }

    private static sbyte[] Codes(float[] weights, float scale)
    {
        var codes = new sbyte[weights.Length];
        Quantizer.Quantize(weights, new QuantizationParameters(scale, 0), new CodeRange(-128, 127), codes);
        return codes;
    }
}
