using Nibble.Numerics.Kernels;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics.X86;
using Nibble.Numerics;

namespace Nibble.Tests.Numerics.Kernels;

/// <summary>Every kernel of this machine against the scalar specification, bit for bit.</summary>
public class KernelTests
{
    private const int Longest = 131;

    public static TheoryData<string> Names { get; } = [.. QuantizationKernels.Available.Select(kernel => kernel.Name)];

    [Fact]
    public void SwitchingAnInstructionSetOffTakesItsKernelAway()
    {
        var off = Environment.GetEnvironmentVariable("DOTNET_EnableAVX2") == "0" || Environment.GetEnvironmentVariable("DOTNET_EnableHWIntrinsic") == "0";
        var names = QuantizationKernels.Available.Select(kernel => kernel.Name).ToArray();
        Assert.Equal(Avx2.IsSupported && !off, names.Contains("avx2"));
        Assert.Equal("scalar", names[^1]);
    }

    [Theory]
    [MemberData(nameof(Names))]
    public void MeasureFindsTheFiniteRangeOnEveryLength(string name)
    {
        var kernel = QuantizationKernels.Select(name);
        Gen.Select(Gens.Any.Array[Longest], Gen.Int[0, 3]).Sample(
            (values, start) =>
            {
                for (var length = 0; length <= Longest - start; length++)
                {
                    var span = values.AsSpan(start, length);
                    var expected = ScalarKernel.Instance.Measure(span);
                    var found = kernel.Measure(span);
                    Assert.Equal(expected.NonFiniteCount, found.NonFiniteCount);
                    Assert.Equal(Bits(expected.Range.Min), Bits(found.Range.Min));
                    Assert.Equal(Bits(expected.Range.Max), Bits(found.Range.Max));
                }
            },
            iter: 30);
    }

    [Theory]
    [MemberData(nameof(Names))]
    public void QuantizeEqualsTheSpecificationOnEveryLength(string name)
    {
        var kernel = QuantizationKernels.Select(name);
        Gen.Select(Gens.Any.Array[Longest], Gens.Quantization, Gen.Int[0, 3]).Sample(
            (values, quantization, start) =>
            {
                var (parameters, codes, _) = quantization;
                var expected = Array.ConvertAll(values, value => ScalarQuantizer.Quantize(value, parameters, codes));
                var buffer = new sbyte[Longest + 1];
                for (var length = 0; length <= Longest - start; length++)
                {
                    Array.Fill(buffer, (sbyte)99);
                    kernel.Quantize(values.AsSpan(start, length), parameters, codes, buffer.AsSpan(1, length));
                    Assert.Equal(expected.AsSpan(start, length), buffer.AsSpan(1, length));
                    Assert.True(buffer[0] == 99 && buffer.AsSpan(1 + length).IndexOfAnyExcept((sbyte)99) < 0, "wrote outside the destination");
                }
            },
            iter: 30);
    }

    [Theory]
    [MemberData(nameof(Names))]
    public void DequantizeEqualsTheSpecificationOnEveryLength(string name)
    {
        var kernel = QuantizationKernels.Select(name);
        Gen.Select(Gen.SByte.Array[Longest], Gens.Quantization, Gen.Int[0, 3]).Sample(
            (codes, quantization, start) =>
            {
                var expected = Array.ConvertAll(codes, code => ScalarQuantizer.Dequantize(code, quantization.Parameters));
                var buffer = new float[Longest + 1];
                for (var length = 0; length <= Longest - start; length++)
                {
                    Array.Fill(buffer, 99f);
                    kernel.Dequantize(codes.AsSpan(start, length), quantization.Parameters, buffer.AsSpan(1, length));
                    AssertSameBits(expected.AsSpan(start, length), buffer.AsSpan(1, length));
                    Assert.True(buffer[0] == 99 && buffer.AsSpan(1 + length).IndexOfAnyExcept(99f) < 0, "wrote outside the destination");
                }
            },
            iter: 30);
    }

    [Theory]
    [MemberData(nameof(Names))]
    public void FakeQuantizeEqualsTheSpecificationOnEveryLengthAndInPlace(string name)
    {
        var kernel = QuantizationKernels.Select(name);
        Gen.Select(Gens.Any.Array[Longest], Gens.Quantization, Gen.Int[0, 3]).Sample(
            (values, quantization, start) =>
            {
                var (parameters, codes, _) = quantization;
                var expected = Array.ConvertAll(values, value => ScalarQuantizer.FakeQuantize(value, parameters, codes));
                for (var length = 0; length <= Longest - start; length++)
                {
                    var buffer = new float[length];
                    kernel.FakeQuantize(values.AsSpan(start, length), parameters, codes, buffer);
                    AssertSameBits(expected.AsSpan(start, length), buffer);
                }

                kernel.FakeQuantize(values, parameters, codes, values);
                AssertSameBits(expected, values);
            },
            iter: 30);
    }

    [Theory]
    [MemberData(nameof(Names))]
    public void SquaredErrorHasTheSameBitsOnEveryKernelAndStaysInItsBudget(string name)
    {
        var kernel = QuantizationKernels.Select(name);
        Gen.Select(Gens.Finite.Array[Longest], Gens.Quantization, Gen.Int[0, 3]).Sample(
            (values, quantization, start) =>
            {
                var (parameters, codes, _) = quantization;
                for (var length = 0; length <= Longest - start; length++)
                {
                    var span = values.AsSpan(start, length);
                    var found = kernel.SquaredError(span, parameters, codes);
                    Assert.Equal(BitConverter.DoubleToInt64Bits(ScalarKernel.Instance.SquaredError(span, parameters, codes)),
                        BitConverter.DoubleToInt64Bits(found));
                    var exact = 0m;
                    var representable = true;
                    foreach (var value in span)
                    {
                        double difference = value - ScalarQuantizer.FakeQuantize(value, parameters, codes);
                        representable &= difference == 0 || Math.Abs(difference) is > 1e-6 and < 1e6;
                        exact += representable ? (decimal)difference * (decimal)difference : 0;
                    }

                    // A decimal has 28 digits, and its conversion from a double keeps 15.
                    Assert.True(!representable || Math.Abs((double)exact - found) <= 1e-14 * found, $"{found} is not {exact}");
                }
            },
            iter: 30);
    }

    [Theory]
    [MemberData(nameof(Names))]
    public void WeightedSquaredErrorHasTheSameBitsOnEveryKernelAndStaysInItsBudget(string name)
    {
        var kernel = QuantizationKernels.Select(name);
        var importances = Gen.Frequency((5, Gen.Float[0, 1000]), (1, Gen.Const(0f)), (1, Gen.Float[1e30f, 1e38f])).Array[Longest];
        Gen.Select(Gens.Finite.Array[Longest], importances, Gens.Quantization, Gen.Int[0, 3]).Sample(
            (values, importance, quantization, start) =>
            {
                var (parameters, codes, _) = quantization;
                for (var length = 0; length <= Longest - start; length++)
                {
                    var span = values.AsSpan(start, length);
                    var weights = importance.AsSpan(start, length);
                    var found = kernel.WeightedSquaredError(span, weights, parameters, codes);
                    var expected = ScalarKernel.Instance.WeightedSquaredError(span, weights, parameters, codes);
                    Assert.Equal(BitConverter.DoubleToInt64Bits(expected), BitConverter.DoubleToInt64Bits(found));
                    var sum = 0d;
                    for (var i = 0; i < length; i++)
                    {
                        double difference = span[i] - ScalarQuantizer.FakeQuantize(span[i], parameters, codes);
                        sum += weights[i] * difference * difference;
                    }

                    Assert.True(Math.Abs(sum - found) <= 1e-13 * sum, $"{found} is not {sum}");
                }
            },
            iter: 30);
    }

    [Theory]
    [MemberData(nameof(Names))]
    public void WeightedSquaredErrorOfImportanceOneIsTheSquaredError(string name)
    {
        var kernel = QuantizationKernels.Select(name);
        var ones = Enumerable.Repeat(1f, Longest).ToArray();
        Gen.Select(Gens.Finite.Array[Longest], Gens.Quantization).Sample(
            (values, quantization) => Assert.Equal(
                kernel.SquaredError(values, quantization.Parameters, quantization.Codes),
                kernel.WeightedSquaredError(values, ones, quantization.Parameters, quantization.Codes)),
            iter: 100);
    }

    [Theory]
    [MemberData(nameof(Names))]
    public void SquaredErrorOfNonFiniteValuesIsNotFinite(string name)
    {
        var kernel = QuantizationKernels.Select(name);
        var values = new float[Longest];
        foreach (var position in new[] { 0, 63, Longest - 1 })
        {
            values[position] = float.NaN;
            Assert.Equal(double.NaN, kernel.SquaredError(values, new QuantizationParameters(1, 0), new CodeRange(-8, 7)));
            values[position] = float.PositiveInfinity;
            Assert.Equal(double.PositiveInfinity, kernel.SquaredError(values, new QuantizationParameters(1, 0), new CodeRange(-8, 7)));
            values[position] = 0;
        }
    }

    [Theory]
    [MemberData(nameof(Names))]
    public void PackEqualsTheSpecificationAndUnpackReturnsTheCodes(string name)
    {
        var kernel = QuantizationKernels.Select(name);
        Gens.Codes.Sample(
            input =>
            {
                var (codes, bits) = input;
                var expected = PackBitByBit(codes, bits);
                var packed = Enumerable.Repeat((byte)0xA5, expected.Length).ToArray();
                kernel.Pack(codes, bits, packed);
                Assert.Equal(expected, packed);
                var unpacked = new sbyte[codes.Length];
                kernel.Unpack(packed, bits, unpacked);
                Assert.Equal(codes, unpacked);
            },
            iter: 1000);
    }

    [Theory]
    [MemberData(nameof(Names))]
    public void PackAndUnpackReturnEveryLengthOfEveryWidth(string name)
    {
        var kernel = QuantizationKernels.Select(name);
        for (var bits = QuantizationScheme.MinBits; bits <= QuantizationScheme.MaxBits; bits++)
        {
            for (var length = 0; length <= Longest; length++)
            {
                var (modulus, lowest) = (1 << bits, -(1 << (bits - 1)));
                var codes = Enumerable.Range(0, length).Select(i => (sbyte)((i * 37 % modulus) + lowest)).ToArray();
                // One element in, so that the memory is not aligned.
                var packed = new byte[BitPacking.PackedLength(length, bits) + 1];
                kernel.Pack(codes, bits, packed.AsSpan(1));
                Assert.Equal(PackBitByBit(codes, bits), packed.AsSpan(1).ToArray());
                var unpacked = new sbyte[length + 1];
                kernel.Unpack(packed.AsSpan(1), bits, unpacked.AsSpan(1));
                Assert.Equal(codes, unpacked.AsSpan(1).ToArray());
            }
        }
    }

    [Theory]
    [MemberData(nameof(Names))]
    public void UnpackIgnoresTheBitsAfterTheLastCode(string name)
    {
        var kernel = QuantizationKernels.Select(name);
        var codes = new sbyte[3];
        kernel.Unpack([0b10_001_000, 0b1111_1111], 3, codes);
        Assert.Equal([-4, -3, 2], codes);
    }

    private static byte[] PackBitByBit(sbyte[] codes, int bits)
    {
        var stream = new byte[((codes.Length * bits) + 7) / 8];
        for (var bit = 0; bit < codes.Length * bits; bit++)
        {
            var value = codes[bit / bits] + (1 << (bits - 1));
            stream[bit / 8] |= (byte)(((value >> (bit % bits)) & 1) << (bit % 8));
        }

        return stream;
    }

    private static int Bits(float value) => BitConverter.SingleToInt32Bits(value);

    private static void AssertSameBits(ReadOnlySpan<float> expected, ReadOnlySpan<float> found) =>
        Assert.Equal(MemoryMarshal.Cast<float, int>(expected).ToArray(), MemoryMarshal.Cast<float, int>(found).ToArray());
}
