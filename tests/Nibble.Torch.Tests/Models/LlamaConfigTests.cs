using System.Text.Json.Nodes;
using Nibble.Torch.Models.Llama;

namespace Nibble.Torch.Tests.Models;

public sealed class LlamaConfigTests
{
    private const string Smallest = """
        {"model_type":"llama","vocab_size":100,"hidden_size":32,"intermediate_size":64,"num_hidden_layers":3,"num_attention_heads":4}
        """;

    [Fact]
    public void Parse_FillsInWhatIsAbsent() => Assert.Equal(
        new LlamaConfig
        {
            ModelType = "llama",
            VocabularySize = 100,
            HiddenSize = 32,
            IntermediateSize = 64,
            Layers = 3,
            Heads = 4,
            KeyValueHeads = 4,
            HeadSize = 8,
            MaxPositions = 2048,
            NormEpsilon = 1e-6,
            RotaryBase = 10000,
        },
        Parse());

    [Fact]
    public void Parse_ReadsEverything()
    {
        var config = Parse(
            ("num_key_value_heads", "2"), ("head_dim", "16"), ("max_position_embeddings", "77"), ("rms_norm_eps", "0.5"), ("rope_theta", "500000"),
            ("tie_word_embeddings", "true"), ("attention_bias", "true"), ("mlp_bias", "true"), ("hidden_act", "\"silu\""), ("rope_scaling", "null"));
        Assert.Equal((2, 16, 77, 0.5, 500000d), (config.KeyValueHeads, config.HeadSize, config.MaxPositions, config.NormEpsilon, config.RotaryBase));
        Assert.True(config.TiedHead && config.QueryKeyValueBias && config.OutputBias && config.FeedForwardBias);
        Assert.False(config.QueryKeyNorm);
        Assert.Null(config.RotaryScaling);
    }

    [Theory]
    [InlineData("llama", false, false, false)]
    [InlineData("mistral", false, false, false)]
    [InlineData("qwen2", true, false, false)]
    [InlineData("qwen3", false, false, true)]
    public void Parse_KnowsTheFamilies(string type, bool bias, bool outputBias, bool norms)
    {
        var config = Parse(("model_type", $"\"{type}\""));
        Assert.Equal((bias, outputBias, norms), (config.QueryKeyValueBias, config.OutputBias, config.QueryKeyNorm));
        Assert.Contains(type, LlamaConfig.SupportedTypes);
    }

    [Theory]
    [InlineData("mistral", "4096", "false", 4096)]
    [InlineData("mistral", "null", "false", null)]
    [InlineData("qwen2", "4096", "false", null)]
    [InlineData("qwen2", "4096", "true", 4096)]
    [InlineData("llama", "4096", "false", null)]
    public void Parse_ReadsTheSlidingWindow_WhereItIsUsed(string type, string window, string use, int? expected) =>
        Assert.Equal(expected, Parse(("model_type", $"\"{type}\""), ("sliding_window", window), ("use_sliding_window", use)).SlidingWindow);

    [Theory]
    [InlineData("rope_parameters", """{"rope_type":"default","rope_theta":5000}""", 5000, null)]
    [InlineData("rope_parameters", """{"rope_theta":5000}""", 5000, null)]
    [InlineData("rope_scaling", """{"type":"linear","factor":4}""", 10000, 0)]
    [InlineData("rope_scaling", """{"rope_type":"llama3","factor":4,"low_freq_factor":1,"high_freq_factor":2,"original_max_position_embeddings":8192}""", 10000, 8192)]
    [InlineData("rope_parameters", """{"rope_type":"llama3","rope_theta":5000,"factor":4,"low_freq_factor":1,"high_freq_factor":2,"original_max_position_embeddings":8192}""", 5000, 8192)]
    public void Parse_ReadsTheRotarySettings(string key, string json, double rotaryBase, int? originalContext)
    {
        var config = Parse((key, json));
        Assert.Equal(rotaryBase, config.RotaryBase);
        Assert.Equal(originalContext switch { null => null, 0 => new RotaryScaling(4, 1, 1, 0), _ => new RotaryScaling(4, 1, 2, 8192) }, config.RotaryScaling);
    }

    [Theory]
    [InlineData("model_type", "\"gpt2\"", "model_type is 'gpt2', which is not supported; supported: llama, mistral, qwen2, qwen3")]
    [InlineData("model_type", "null", "model_type is ''")]
    [InlineData("model_type", "3", "'model_type' is 3, expected a text")]
    [InlineData("hidden_act", "\"gelu\"", "hidden_act is 'gelu', expected 'silu'")]
    [InlineData("hidden_size", "null", "'hidden_size' is missing, expected a positive integer")]
    [InlineData("hidden_size", "0", "'hidden_size' is 0, expected a positive integer of at most 2^24")]
    [InlineData("hidden_size", "-1", "'hidden_size' is -1")]
    [InlineData("hidden_size", "1.5", "'hidden_size' is 1.5")]
    [InlineData("hidden_size", "16777217", "'hidden_size' is 16777217")]
    [InlineData("vocab_size", "\"many\"", "'vocab_size' is \"many\"")]
    [InlineData("num_key_value_heads", "3", "4 attention heads, 3 key-value heads")]
    [InlineData("head_dim", "7", "heads of 7; expected the heads to be a multiple of the key-value heads, and an even head size")]
    [InlineData("tie_word_embeddings", "1", "'tie_word_embeddings' is 1, expected true or false")]
    [InlineData("rms_norm_eps", "\"small\"", "'rms_norm_eps' is \"small\", expected a number")]
    [InlineData("rms_norm_eps", "-1", "'rms_norm_eps' is -1, expected a number above 0 and at most 1")]
    [InlineData("rms_norm_eps", "0", "'rms_norm_eps' is 0, expected a number above 0 and at most 1")]
    [InlineData("rms_norm_eps", "1e999", "'rms_norm_eps' is 1e999, expected a number")]
    [InlineData("num_attention_heads", "0", "'num_attention_heads' is 0, expected a positive integer")]
    [InlineData("rope_theta", "0", "'rope_theta' is 0, expected a number above 0")]
    [InlineData("rope_theta", "-10000", "'rope_theta' is -10000, expected a number above 0")]
    [InlineData("rope_theta", "1e-300", "the rotary frequencies of rope_theta 1E-300 and heads of")]
    [InlineData("rope_parameters", "{\"rope_theta\":0}", "rope_parameters: 'rope_theta' is 0, expected a number above 0")]
    [InlineData("rope_scaling", "{\"type\":\"linear\",\"factor\":0}", "rope_scaling: 'factor' is 0, expected a number above 0")]
    [InlineData(
        "rope_scaling",
        "{\"rope_type\":\"llama3\",\"factor\":8,\"low_freq_factor\":4,\"high_freq_factor\":4,\"original_max_position_embeddings\":16}",
        "low_freq_factor is 4 and high_freq_factor 4, expected the first below the second")]
    [InlineData("rope_theta", "[]", "'rope_theta' is [], expected a number")]
    [InlineData("rope_parameters", "7", "'rope_parameters' is 7, expected an object")]
    [InlineData("rope_parameters", "{\"rope_theta\":\"x\"}", "rope_parameters: 'rope_theta' is \"x\", expected a number")]
    [InlineData("rope_scaling", "{\"rope_type\":\"yarn\"}", "rotary scaling of type 'yarn' is not supported; supported: default, linear, llama3")]
    [InlineData("rope_scaling", "{\"type\":3}", "rope_scaling: 'type' is 3, expected a text")]
    [InlineData("rope_scaling", "{\"type\":\"linear\"}", "rope_scaling: 'factor' is missing, expected a number")]
    [InlineData("rope_scaling", "{\"type\":\"linear\",\"factor\":null}", "rope_scaling: 'factor' is missing, expected a number")]
    [InlineData("rope_scaling", "{\"type\":\"llama3\",\"factor\":8,\"low_freq_factor\":1,\"high_freq_factor\":4}", "'original_max_position_embeddings' is missing")]
    public void Parse_SaysWhatIsWrong(string key, string json, string complaint)
    {
        var message = Assert.Throws<NibbleException>(() => Parse((key, json))).Message;
        Assert.StartsWith("model/config.json: ", message, StringComparison.Ordinal);
        Assert.Contains(complaint, message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("model_type", "\"mixtral\"", "model_type is 'mixtral'")]
    [InlineData("model_type", "\"qwen2_moe\"", "model_type is 'qwen2_moe'")]
    [InlineData("model_type", "\"qwen3_moe\"", "model_type is 'qwen3_moe'")]
    [InlineData("model_type", "\"olmoe\"", "model_type is 'olmoe'")]
    [InlineData("model_type", "\"deepseek_v3\"", "model_type is 'deepseek_v3'")]
    [InlineData("num_local_experts", "8", "num_local_experts is 8")]
    [InlineData("num_experts", "128", "num_experts is 128")]
    [InlineData("n_routed_experts", "64", "n_routed_experts is 64")]
    public void Parse_RefusesMixturesOfExperts(string key, string json, string sign) => Assert.Equal(
        $"model/config.json: {sign}: mixture-of-experts models are not supported; supported are dense models of the types llama, mistral, qwen2, qwen3",
        Assert.Throws<NibbleException>(() => Parse((key, json))).Message);

    [Theory]
    [InlineData("0")]
    [InlineData("1")]
    [InlineData("null")]
    public void Parse_TakesOneExpertForADenseModel(string experts) => Assert.Equal(Parse(), Parse(("num_local_experts", experts), ("num_experts", experts)));

    [Fact]
    public void Parse_RefusesASlidingWindowThatIsNoLength() => Assert.Contains(
        "'sliding_window' is \"wide\"",
        Assert.Throws<NibbleException>(() => Parse(("model_type", "\"mistral\""), ("sliding_window", "\"wide\""))).Message,
        StringComparison.Ordinal);

    [Theory]
    [InlineData("{", "not valid JSON")]
    [InlineData("", "not valid JSON")]
    [InlineData("[]", "found Array, expected an object")]
    public void Parse_RefusesWhatIsNoObject(string json, string complaint) =>
        Assert.Contains(complaint, Assert.Throws<NibbleException>(() => LlamaConfig.Parse(json, "config.json")).Message, StringComparison.Ordinal);

    private static LlamaConfig Parse(params (string Key, string Json)[] changes)
    {
        var root = JsonNode.Parse(Smallest)!;
        foreach (var (key, json) in changes)
        {
            root[key] = JsonNode.Parse(json);
        }

        return LlamaConfig.Parse(root.ToJsonString(), "model/config.json");
    }
}
