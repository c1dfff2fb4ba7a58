using Nibble.Files;
using Nibble.Formats.Gguf;
using Nibble.Formats.Gguf.Blocks;

namespace Nibble.Tests.Formats.Gguf.Blocks;

/// <summary>Blocks that searches can stumble over: their error is not above that of llama.cpp's quantizer, with and without weights.</summary>
public class DegenerateBlockTests
{
    private const int Count = 256;

    // What rounding to the type costs normal weights, as a share of their squares: the measure of what is little.
    private static readonly Dictionary<GgufType, double> Shares = new()
    {
        [GgufType.Q2_K] = 0.055,
        [GgufType.Q3_K] = 0.018,
        [GgufType.Q4_K] = 5e-3,
        [GgufType.Q5_K] = 1.2e-3,
        [GgufType.Q6_K] = 2.4e-4,
        [GgufType.Q4_0] = 6e-3,
        [GgufType.Q4_1] = 4e-3,
        [GgufType.Q5_0] = 1.5e-3,
        [GgufType.Q5_1] = 9e-4,
    };

    private static readonly string[] Kinds =
    [
        "constant", "positive constant", "nearly constant", "nearly positive constant", "spike", "constant but one",
        "negative", "positive", "far positive", "far negative", "two values", "two signs",
        "zero", "denormal", "tiny", "huge", "mixed", "mixed with normal",
    ];

    public static TheoryData<GgufType> Types { get; } = [.. Shares.Keys];

    public static TheoryData<GgufType> SuperBlocks { get; } = [GgufType.Q2_K, GgufType.Q3_K, GgufType.Q4_K, GgufType.Q5_K, GgufType.Q6_K];

    /// <summary>A row of one constant comes back, where it came back as zeros.</summary>
    [Theory]
    [MemberData(nameof(SuperBlocks))]
    public void AConstantRowKeepsItsValue(GgufType type) => Gen.Select(Gen.Float[1, 2], Gen.Int[-4, 12], Gen.Bool).Sample(
        (mantissa, exponent, negative) =>
        {
            var value = (negative ? -mantissa : mantissa) * MathF.Pow(2, exponent);

            // Half of binary16's last digit, times the most steps of the finest type.
            var allowed = (MathF.Abs(value) / 1000) + (32 * 128 * (float)Half.Epsilon / 2);
            Assert.All(Ours(type, [.. Enumerable.Repeat(value, Count)], null), found => Assert.InRange(found, value - allowed, value + allowed));
        },
        iter: 200);

    [Theory]
    [MemberData(nameof(Types))]
    public void NoErrorIsAboveLlamaCpps(GgufType type)
    {
        foreach (var kind in Kinds)
        {
            foreach (var weighting in (string[])["none", "even", "uneven", "zeros"])
            {
                if (weighting == "none" && type.BlockSize() < Count)
                {
                    continue;
                }

                AssertNoHigherError(type, kind, weighting);
            }
        }
    }

    /// <summary>An importance matrix of nothing but zeros says nothing, and columns without importance are not lost either.</summary>
    [Theory]
    [MemberData(nameof(Types))]
    public void ColumnsWithoutImportanceKeepTheirValues(GgufType type)
    {
        var entry = new GgufEntry("w", type, [Count, 1], 0, 0);
        Assert.Null(Matrix(_ => 0).Weights(entry));
        var weights = Matrix(i => i % 64 < 32 ? 0 : 1).Weights(entry)!;
        var values = RandomWeights.Of("normal", Count);
        var found = Ours(type, values, weights);
        for (var part = 0; part < Count; part += 32)
        {
            var (error, squares) = (0d, 0d);
            for (var i = part; i < part + 32; i++)
            {
                (error, squares) = (error + Math.Pow(values[i] - (double)found[i], 2), squares + Math.Pow(values[i], 2));
            }

            Assert.InRange(error / squares, 0, 5 * Shares[type]);
        }

        static ImportanceMatrix Matrix(Func<int, float> square) =>
            new(new Dictionary<string, InputSquares> { ["w"] = new([.. Enumerable.Range(0, Count).Select(square)], [1]) }, [], 1, 1);
    }

    private static void AssertNoHigherError(GgufType type, string kind, string weighting)
    {
        const int Trials = 40;
        var random = new Random(5);
        var (sum, reference) = (0d, 0d);
        for (var trial = 0; trial < Trials; trial++)
        {
            var values = Values(kind, random);
            float[]? weights = weighting switch
            {
                "none" => null,
                "even" => [.. Enumerable.Repeat(1f, Count)],
                "uneven" => [.. Enumerable.Range(0, Count).Select(_ => MathF.Exp(4 * (random.NextSingle() - 0.5f)))],
                _ => [.. Enumerable.Range(0, Count).Select(_ => random.Next(2) == 0 ? 0 : 2 * random.NextSingle())],
            };

            // llama.cpp takes zeros as they are, and an importance matrix gives them a little weight here.
            var counted = weights is null ? null : Array.ConvertAll(weights, weight => MathF.Max(weight, 1e-6f));
            var (ours, theirs) = (Error(values, counted, Ours(type, values, counted)), Error(values, counted, Theirs(type, values, weights)));
            Assert.True(ours <= theirs + (Shares[type] * (kind == "tiny" ? 1 : 0.4)), $"{kind}, {weighting}, trial {trial}: squared error {ours:E3} of the "
                + $"squares, llama.cpp's {theirs:E3}");
            (sum, reference) = (sum + ours, reference + Math.Min(theirs, 1));
        }

        // A hundredth of what rounding to the type costs other weights is rounding, too.
        Assert.True(sum <= (reference * 1.02) + (Trials * Shares[type] * 0.01), $"{kind}, {weighting}: squared error {sum / Trials:E3} of the squares, "
            + $"llama.cpp's {reference / Trials:E3}");
    }

    private static float[] Values(string kind, Random random)
    {
        var values = new float[Count];
        for (var start = 0; start < Count; start += 16)
        {
            // Every second time sub-blocks of 32 values are of one kind, too.
            var length = start % 32 == 0 && random.Next(2) == 0 ? 32 : 16;
            var own = kind switch
            {
                "mixed" => Kinds[random.Next(14)],
                "mixed with normal" => random.Next(3) == 0 ? Kinds[random.Next(14)] : "normal",
                _ => kind,
            };
            Part(own, length, random).CopyTo(values, start);
            start += length - 16;
        }

        return values;
    }

    private static float[] Part(string kind, int length, Random random)
    {
        var base2 = MathF.Pow(2, random.Next(-6, 3)) * (1 + random.NextSingle());
        var value = random.Next(2) == 0 ? base2 : -base2;
        var spread = MathF.Pow(10, -1 - (6 * random.NextSingle()));
        var place = random.Next(length);
        return [.. Enumerable.Range(0, length).Select(i => kind switch
        {
            "constant" => value,
            "positive constant" => base2,
            "nearly constant" => value * (1 + (spread * Normal())),
            "nearly positive constant" => base2 * (1 + (spread * Normal())),
            "spike" => i == place ? value : 0,
            "constant but one" => i == place ? 3 * value : base2,
            "negative" => -MathF.Abs(base2 * Normal()),
            "positive" => MathF.Abs(base2 * Normal()),
            "far positive" => base2 * (10 + random.NextSingle()),
            "far negative" => -base2 * (10 + random.NextSingle()),
            "two values" => random.Next(2) == 0 ? base2 : base2 * 1.5f,
            "two signs" => random.Next(2) == 0 ? value : -value,
            "denormal" => value * 1e-40f,
            "tiny" => base2 * Normal() * 1e-6f,
            "huge" => MathF.CopySign(65504 * (1 - (random.NextSingle() * 0.1f)), value),
            "zero" => 0,
            _ => 0.02f * Normal(),
        })];

        float Normal() => (float)(Math.Sqrt(-2 * Math.Log(1 - random.NextDouble())) * Math.Cos(2 * Math.PI * random.NextDouble()));
    }

    /// <summary>The weighted squared error as a share of the weighted squares; 1 where a type cannot say a value at all.</summary>
    private static double Error(float[] values, float[]? weights, float[] found)
    {
        var (error, squares) = (0d, 0d);
        for (var i = 0; i < values.Length; i++)
        {
            var weight = weights?[i] ?? 1d;
            error += weight * Math.Pow(values[i] - (double)found[i], 2);
            squares += weight * Math.Pow(values[i], 2);
        }

        var share = squares > 1e-30 ? error / squares : error > 1e-30 ? double.PositiveInfinity : 0;
        return double.IsNaN(share) ? double.PositiveInfinity : share;
    }

    private static float[] Ours(GgufType type, float[] values, float[]? weights)
    {
        var blocks = new byte[Count / type.BlockSize() * type.BlockBytes()];
        var codec = (IWeightedCodec)BlockCodecs.For(type);
        if (weights is null)
        {
            codec.Quantize(values, blocks);
        }
        else
        {
            codec.Quantize(values, weights, blocks);
        }

        return Restore(type, blocks);
    }

    private static float[] Theirs(GgufType type, float[] values, float[]? weights) => Restore(type, GgmlQuantizer.Quantize(type, values, Count, weights));

    private static float[] Restore(GgufType type, byte[] blocks)
    {
        var values = new float[Count];
        BlockCodecs.For(type).Dequantize(blocks, values);
        return values;
    }
}
