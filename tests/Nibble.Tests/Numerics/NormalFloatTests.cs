using Nibble.Numerics;

namespace Nibble.Tests.Numerics;

public class NormalFloatTests
{
    private static readonly Gen<float[]> Values =
        Gen.Select(Gen.Float[-3, 3].Array[1, 600], Gen.OneOf(Gen.Const(1e-6f), Gen.Const(1f), Gen.Const(1e4f)),
        (values, scale) => Array.ConvertAll(values, value => value * scale));

    /// <summary>The constants of the paper, appendix E.</summary>
    [Fact]
    public void LevelsAreThePublishedOnes()
    {
        float[] published =
        [
            -1, -0.6961928009986877f, -0.5250730514526367f, -0.39491748809814453f, -0.28444138169288635f, -0.18477343022823334f, -0.09105003625154495f, 0,
            0.07958029955625534f, 0.16093020141124725f, 0.24611230194568634f, 0.33791524171829224f, 0.44070982933044434f, 0.5626170039176941f,
            0.7229568362236023f, 1,
        ];
        Assert.Equal(16, NormalFloat.Levels.Count);
        Assert.All(published.Zip(NormalFloat.Levels), pair => Assert.Equal(pair.First, pair.Second, 2e-7f));
        Assert.Equal(0, NormalFloat.Levels[NormalFloat.ZeroCode]);
    }

    [Fact]
    public void EncodeTakesTheNearestLevel() =>
        Gen.Float[-1.5f, 1.5f].Sample(value =>
        {
            var nearest = NormalFloat.Levels.Min(level => Math.Abs(level - value));
            Assert.Equal(nearest, Math.Abs(NormalFloat.Levels[NormalFloat.Encode(value)] - value), 1e-7f);
        });

    [Fact]
    public void EncodeOfALevelIsItsCode() => Assert.Equal(Enumerable.Range(0, 16), NormalFloat.Levels.Select(NormalFloat.Encode));

    [Fact]
    public void DequantizedValuesAreTheNearestLevelsOfTheStoredMagnitudes() =>
        Values.Sample(values =>
        {
            var tensor = NormalFloatTensor.Quantize(values);
            var found = Dequantize(tensor);
            Assert.Equal(values.Length, tensor.Count);

            // The coarsest magnitude is off by half a step of the magnitudes' codes, and the widest gap of the levels is 0.31.
            var magnitudes = values.Chunk(NormalFloatTensor.BlockSize).Select(block => block.Max(Math.Abs)).ToArray();
            var reach = magnitudes.Max(magnitude => Math.Abs(magnitude - magnitudes.Average()));
            var slack = (reach / 254) + (1e-5f * magnitudes.Max());
            for (var i = 0; i < values.Length; i++)
            {
                var magnitude = magnitudes[i / NormalFloatTensor.BlockSize];
                Assert.InRange(Math.Abs(values[i] - found[i]), 0, (0.153 * (magnitude + slack)) + slack);
            }
        });

    [Fact]
    public void NormalValuesLoseLittle()
    {
        var random = new Random(1);
        var values = Enumerable.Range(0, 1 << 16)
            .Select(_ => (float)(Math.Sqrt(-2 * Math.Log(1 - random.NextDouble())) * Math.Cos(2 * Math.PI * random.NextDouble()))).ToArray();
        var tensor = NormalFloatTensor.Quantize(values);
        var error = Math.Sqrt(Dequantize(tensor).Zip(values).Average(pair => Math.Pow(pair.First - pair.Second, 2)));

        // 16 even steps over the same ranges lose 0.098.
        Assert.InRange(error, 0.07, 0.095);
        Assert.Equal((values.Length / 2) + (values.Length / 64) + (values.Length / 64 / 256 * 4) + 4, tensor.Bytes);
    }

    [Theory]
    [InlineData(1)]
    [InlineData(63)]
    [InlineData(64)]
    [InlineData(65)]
    [InlineData(129)]
    public void BlocksOfOneMagnitudeAreExactAtTheirLevels(int count)
    {
        var values = Enumerable.Range(0, count).Select(i => NormalFloat.Levels[(i * 5) % 16] * 2).ToArray();
        values[0] = 2;
        if (count > 64)
        {
            values[64] = -2;
        }

        if (count > 128)
        {
            values[128] = 2;
        }

        Assert.Equal(values, Dequantize(NormalFloatTensor.Quantize(values)));
    }

    [Fact]
    public void ZerosStayZero() => Assert.All(Dequantize(NormalFloatTensor.Quantize(new float[130])), value => Assert.Equal(0, value));

    [Fact]
    public void ABlockOfZerosBesideOthersStaysZero()
    {
        var values = new float[64 * 3];
        values.AsSpan(64, 64).Fill(3);
        Assert.All(Dequantize(NormalFloatTensor.Quantize(values))[..64], value => Assert.Equal(0, value));
    }

    [Fact]
    public void WhatCannotBeQuantizedIsRefused()
    {
        Assert.Throws<ArgumentException>(() => NormalFloatTensor.Quantize([]));
        Assert.Throws<ArgumentException>(() => NormalFloatTensor.Quantize([1, float.NaN]));
        Assert.Throws<ArgumentException>(() => NormalFloatTensor.Quantize([float.PositiveInfinity]));
        Assert.Throws<ArgumentException>(() => NormalFloatTensor.Quantize([1, 2]).Dequantize(new float[3]));
    }

    private static float[] Dequantize(NormalFloatTensor tensor)
    {
        var values = new float[tensor.Count];
        tensor.Dequantize(values);
        return values;
    }
}
