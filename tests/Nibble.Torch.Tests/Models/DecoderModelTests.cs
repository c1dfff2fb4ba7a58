using Nibble.Torch.Models;
using Nibble.Torch.Models.Decoders;
using Nibble.Torch.Tests.Shared;
using static TorchSharp.torch;

namespace Nibble.Torch.Tests.Models;

public sealed class DecoderModelTests : IDisposable
{
    private const string Llama3 = ""","rope_parameters":{"rope_type":"llama3","rope_theta":10000,"factor":8,"low_freq_factor":1,"high_freq_factor":4,"original_max_position_embeddings":64}""";

    private static readonly long[] Tokens = [256, 72, 101, 7, 0, 255, 101, 33, 72, 10, 200, 72];

    private readonly TemporaryFolder folder = new();

    public static TheoryData<string, bool, string> Families => new()
    {
        { "llama", false, "" },
        { "llama", true, "" },
        { "llama", false, ",\"attention_bias\":true,\"mlp_bias\":true" },
        { "llama", false, ",\"rope_scaling\":{\"type\":\"linear\",\"factor\":4}" },
        { "llama", true, Llama3 },
        { "mistral", false, ",\"sliding_window\":null,\"rope_theta\":1000000" },
        { "qwen2", true, "" },
        { "qwen3", false, "" },
    };

    public void Dispose() => folder.Dispose();

    [Theory]
    [MemberData(nameof(Families))]
    public void ParametersAreThoseOfTheCheckpointEachOnce(string type, bool tied, string further)
    {
        var tiny = new TinyLlama { Type = type, Tied = tied, Further = further };
        using var model = new DecoderModel(tiny.Config);
        var expected = tiny.Tensors();
        Assert.Equal(expected.Keys, model.named_parameters().Select(item => item.name).Order(StringComparer.Ordinal));
        Assert.All(model.named_parameters(), item => Assert.Equal(expected[item.name].Shape, item.parameter.shape));
        Assert.Equal(expected.Values.Sum(tensor => tensor.Values.LongLength), model.ParameterCount());
        Assert.Equal(
            expected.Keys.Where(name => name.Contains("_proj.weight", StringComparison.Ordinal) || name == "lm_head.weight")
                .Select(name => name[..^".weight".Length]),
            model.Linears.Select(linear => linear.Key).Order(StringComparer.Ordinal));
    }

    [Fact]
    public void LinearsComeInTheModelsOrder()
    {
        using var model = new DecoderModel(new TinyLlama().Config);
        string[] block = ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj", "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"];
        Assert.Equal(
            [.. block.Select(name => "model.layers.0." + name), .. block.Select(name => "model.layers.1." + name), "lm_head"],
            model.Linears.Select(linear => linear.Key));
    }

    [Theory]
    [MemberData(nameof(Families))]
    public void LogitsEqualThoseOfTheNaiveLoops(string type, bool tied, string further)
    {
        var tiny = new TinyLlama { Type = type, Tied = tied, Further = further };
        using var loaded = tiny.Open(folder);
        using var guard = no_grad();
        using var scope = NewDisposeScope();
        var expected = new NaiveLlama(tiny.Config, tiny.Tensors()).Logits(Array.ConvertAll(Tokens, token => (int)token));
        Near(expected.SelectMany(row => row), loaded.Llama().forward(tensor(Tokens, 1, Tokens.Length)), 1e-4);
    }

    [Fact]
    public void Llama3FrequenciesAreThoseWorkedByHand()
    {
        // Heads of 8: frequencies 1, 0.1, 0.01, 0.001, wavelengths 6.3, 62.8, 628, 6283. Context 64, factors 1 and 4: below 16 kept, above
        // 64 divided by 8, and at 62.8: turns 64 / 62.83 = 1.01859, share (1.01859 - 1) / 3 = 0.0061972, 0.1 (0.0061972 + 0.9938028 / 8).
        var naive = new NaiveLlama(new TinyLlama { Further = Llama3 }.Config, new TinyLlama().Tensors());
        double[] expected = [1, 0.01304226, 0.00125, 0.000125];
        Assert.All(expected.Index(), item => Assert.Equal(item.Item, naive.Frequency(item.Index), 1e-7));
    }

    [Fact]
    public void BatchIsEachSequenceByItself()
    {
        using var loaded = new TinyLlama().Open(folder);
        using var guard = no_grad();
        using var scope = NewDisposeScope();
        var both = loaded.Llama().forward(tensor(Tokens, 2, 6));
        Near(Doubles(loaded.Llama().forward(tensor(Tokens[..6], 1, 6))), both[0], 1e-5);
        Near(Doubles(loaded.Llama().forward(tensor(Tokens[6..], 1, 6))), both[1], 1e-5);
    }

    [Theory]
    [InlineData(1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1)]
    [InlineData(12)]
    [InlineData(5, 1, 1, 4, 1)]
    [InlineData(1, 11)]
    public void CacheGivesTheLogitsOfTheWhole(params int[] chunks)
    {
        using var loaded = new TinyLlama().Open(folder);
        using var guard = no_grad();
        using var scope = NewDisposeScope();
        var whole = loaded.Llama().forward(tensor(Tokens, 1, Tokens.Length))[0];
        using var cache = new KeyValueCache(TinyLlama.Layers);
        var start = 0;
        foreach (var length in chunks)
        {
            // Each step in a scope of its own, as a generator would: the cache must survive it.
            using var step = NewDisposeScope();
            Assert.Equal(start, cache.Length);
            var logits = loaded.Llama().Logits(tensor(Tokens[start..(start + length)], 1, length), cache)[0];
            Near(Doubles(whole.narrow(0, start, length)), logits, 1e-4);
            start += length;
        }

        Assert.Equal(Tokens.Length, cache.Length);
    }

    [Fact]
    public void PositionsMayPassThoseTrainedFor()
    {
        var tiny = new TinyLlama { MaxPositions = 4 };
        using var loaded = tiny.Open(folder);
        using var guard = no_grad();
        using var scope = NewDisposeScope();
        var expected = new NaiveLlama(tiny.Config, tiny.Tensors()).Logits(Array.ConvertAll(Tokens, token => (int)token));
        loaded.Llama().forward(tensor(Tokens[..2], 1, 2));
        Near(expected.SelectMany(row => row), loaded.Llama().forward(tensor(Tokens, 1, Tokens.Length)), 1e-4);
    }

    [Fact]
    public void SlidingWindowRefusesWhatIsLonger()
    {
        using var loaded = new TinyLlama { Type = "mistral", Further = ",\"sliding_window\":8" }.Open(folder);
        using var guard = no_grad();
        using var scope = NewDisposeScope();
        Assert.Equal([1, 8, TinyLlama.Vocabulary], loaded.Llama().forward(tensor(Tokens[..8], 1, 8)).shape);
        Assert.Equal(
            "a sequence of 9 tokens is longer than this model's sliding window of 8. Use a shorter context",
            Assert.Throws<NibbleException>(() => loaded.Llama().forward(tensor(Tokens[..9], 1, 9))).Message);

        using var cache = new KeyValueCache(TinyLlama.Layers);
        loaded.Llama().Logits(tensor(Tokens[..8], 1, 8), cache);
        Assert.Throws<NibbleException>(() => loaded.Llama().Logits(tensor(Tokens[8..9], 1, 1), cache));
    }

    [Fact]
    public void InitializeDrawsTheSameWeightsFromTheSameSeed()
    {
        float[][] Draw(ulong seed)
        {
            using var model = new DecoderModel(new TinyLlama { Type = "qwen2" }.Config);
            using var generator = new Generator(seed);
            model.Initialize(generator);
            return [.. model.named_parameters().Select(item => Bits.Of(item.parameter))];
        }

        using var names = new DecoderModel(new TinyLlama { Type = "qwen2" }.Config);
        var first = Draw(7);
        Assert.Equal(first, Draw(7));
        Assert.NotEqual(first, Draw(8));
        foreach (var ((name, _), values) in names.named_parameters().Zip(first))
        {
            var deviation = Math.Sqrt(values.Average(value => value * value));
            if (name.EndsWith("norm.weight", StringComparison.Ordinal))
            {
                Assert.All(values, value => Assert.Equal(1, value));
            }
            else if (name.EndsWith(".bias", StringComparison.Ordinal))
            {
                Assert.All(values, value => Assert.Equal(0, value));
            }
            else
            {
                // Two blocks: the projections back to the stream are half as wide.
                var expected = name.Contains("o_proj", StringComparison.Ordinal) || name.Contains("down_proj", StringComparison.Ordinal) ? 0.01 : 0.02;
                Assert.InRange(deviation, expected * 0.85, expected * 1.15);
            }
        }
    }

    private static double[] Doubles(Tensor tensor) => Array.ConvertAll(Bits.Of(tensor), value => (double)value);

    private static void Near(IEnumerable<double> expected, Tensor actual, double tolerance)
    {
        var found = Bits.Of(actual);
        var wanted = expected.ToArray();
        Assert.Equal(wanted.Length, found.Length);
        Assert.InRange(wanted.Zip(found, (one, other) => Math.Abs(one - other)).Max(), 0, tolerance);
    }
}
