using Nibble.Files;
using System.Globalization;
using System.Text.Json;
using Nibble.Formats.Safetensors;
using Nibble.Models.Decoders;
using Nibble.Torch.Models;

namespace Nibble.Torch.Tests.Shared;

/// <summary>A random decoder of two narrow blocks as a checkpoint folder, with a tokenizer of the 256 bytes, <c>&lt;|bos|&gt;</c> and
/// <c>&lt;|eos|&gt;</c>.</summary>
internal sealed record TinyLlama
{
    public const int Bos = 256;
    public const int Eos = 257;
    public const int Vocabulary = 258;
    public const int Hidden = 16;

    /// <summary>No multiple of the groups of 8 that tests use.</summary>
    public const int Intermediate = 20;
    public const int Layers = 2;
    public const int Heads = 4;
    public const int KeyValueHeads = 2;

    public string Type { get; init; } = "llama";

    public bool Tied { get; init; }

    /// <summary>Width of a head; apart from hidden / heads, so that nothing takes one for the other.</summary>
    public int HeadSize { get; init; } = 8;

    public int MaxPositions { get; init; } = 64;

    /// <summary>Heads of keys and values.</summary>
    public int KeyHeads { get; init; } = KeyValueHeads;
    /// <summary>Whether the tokenizer puts <see cref="Bos"/> before texts.</summary>
    public bool AddsBos { get; init; } = true;

    /// <summary>Further properties of <c>config.json</c>, each with a comma before it.</summary>
    public string Further { get; init; } = string.Empty;

    public ElementType StoredAs { get; init; } = ElementType.F32;

    /// <summary>Says the element type of single tensors, where it is another than <see cref="StoredAs"/>.</summary>
    public Func<string, ElementType>? StoredEach { get; init; }

    public int Seed { get; init; } = 1;

    public string ConfigJson => $$"""
        {"model_type":"{{Type}}","vocab_size":{{Vocabulary}},"hidden_size":{{Hidden}},"intermediate_size":{{Intermediate}},"num_hidden_layers":{{Layers}},
         "num_attention_heads":{{Heads}},"num_key_value_heads":{{KeyHeads}},"head_dim":{{HeadSize}},"max_position_embeddings":{{MaxPositions}},
         "rms_norm_eps":1e-05,         "tie_word_embeddings":{{(Tied ? "true" : "false")}},"bos_token_id":{{Bos}},"eos_token_id":{{Eos}}{{Further}} }
        """;

    private const string Template =
        """{"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"<|bos|>","type_id":0}},{"Sequence":{"id":"A","type_id":0}}]"""
            + ""","special_tokens":{"<|bos|>":{"ids":[256]}}}""";

    public DecoderConfig Config => DecoderConfig.Parse(ConfigJson, "config.json");

    /// <summary>The tensors that transformers writes for such a model.</summary>
    public SortedDictionary<string, (long[] Shape, float[] Values)> Tensors()
    {
        var random = new Random(Seed);
        var tensors = new SortedDictionary<string, (long[] Shape, float[] Values)>(StringComparer.Ordinal);
        void Add(string name, double mean, double deviation, params long[] shape) =>
            tensors.Add(name, (shape,
                [.. Enumerable.Range(0, (int)shape.Aggregate((a, b) => a * b)).Select(_ => TypeOf(name).Round((float)(mean + (deviation * Normal(random)))))]));
        void AddLinear(string name, int rows, int columns, bool bias)
        {
            Add(name + ".weight", 0, 1 / Math.Sqrt(columns), rows, columns);
            if (bias)
            {
                Add(name + ".bias", 0, 0.3, rows);
            }
        }

        Add("model.embed_tokens.weight", 0, 1, Vocabulary, Hidden);
        for (var layer = 0; layer < Layers; layer++)
        {
            var block = string.Create(CultureInfo.InvariantCulture, $"model.layers.{layer}.");
            Add(block + "input_layernorm.weight", 1, 0.2, Hidden);
            Add(block + "post_attention_layernorm.weight", 1, 0.2, Hidden);
            AddLinear(block + "self_attn.q_proj", Heads * HeadSize, Hidden, Config.QueryKeyValueBias);
            AddLinear(block + "self_attn.k_proj", KeyHeads * HeadSize, Hidden, Config.QueryKeyValueBias);
            AddLinear(block + "self_attn.v_proj", KeyHeads * HeadSize, Hidden, Config.QueryKeyValueBias);
            AddLinear(block + "self_attn.o_proj", Hidden, Heads * HeadSize, Config.OutputBias);
            AddLinear(block + "mlp.gate_proj", Intermediate, Hidden, Config.FeedForwardBias);
            AddLinear(block + "mlp.up_proj", Intermediate, Hidden, Config.FeedForwardBias);
            AddLinear(block + "mlp.down_proj", Hidden, Intermediate, Config.FeedForwardBias);
            if (Type == "qwen3")
            {
                Add(block + "self_attn.q_norm.weight", 1, 0.2, HeadSize);
                Add(block + "self_attn.k_norm.weight", 1, 0.2, HeadSize);
            }
        }

        Add("model.norm.weight", 1, 0.2, Hidden);
        if (!Tied)
        {
            AddLinear("lm_head", Vocabulary, Hidden, bias: false);
        }

        return tensors;
    }

    /// <summary>Writes the checkpoint, with the tensors changed first where <paramref name="change"/> says so.</summary>
    public string Write(string folder, Action<SortedDictionary<string, (long[] Shape, float[] Values)>>? change = null)
    {
        Directory.CreateDirectory(folder);
        var tensors = Tensors();
        change?.Invoke(tensors);
        File.WriteAllText(Path.Combine(folder, "config.json"), ConfigJson);
        File.WriteAllText(Path.Combine(folder, "tokenizer.json"), ByteTokenizer(AddsBos));
        SafetensorsWriter.Write(
            Path.Combine(folder, "model.safetensors"),
            [.. tensors.Select(tensor => SafetensorsTensor.FromFloats(tensor.Key, TypeOf(tensor.Key), tensor.Value.Shape, tensor.Value.Values))]);
        return folder;
    }

    private ElementType TypeOf(string name) => StoredEach?.Invoke(name) ?? StoredAs;

    public LoadedModel Open(TemporaryFolder folder)
    {
        var path = folder.File("tiny");
        return LoadedModel.Open(Directory.Exists(path) ? path : Write(path));
    }

    /// <summary>The <c>tokenizer.json</c>.</summary>
    public static string ByteTokenizer(bool addsBos)
    {
        var extra = 256;
        var vocabulary = new Dictionary<string, int>();
        for (var value = 0; value < 256; value++)
        {
            // GPT-2's table: printable bytes stand for themselves, the others follow from U+0100 on.
            var printable = value is (>= '!' and <= '~') or (>= 0xA1 and <= 0xAC) or (>= 0xAE and <= 0xFF);
            vocabulary.Add(((char)(printable ? value : extra++)).ToString(), value);
        }

        return $$"""
            {"model":{"type":"BPE","vocab":{{JsonSerializer.Serialize(vocabulary)}},"merges":[]},
             "added_tokens":[{"id":{{Bos}},"content":"<|bos|>","special":true},{"id":{{Eos}},"content":"<|eos|>","special":true}],
             "pre_tokenizer":{"type":"ByteLevel","add_prefix_space":false},
             "post_processor":{{(addsBos ? Template : "null")}} }
            """;
    }

    private static double Normal(Random random) => Math.Sqrt(-2 * Math.Log(1 - random.NextDouble())) * Math.Cos(2 * Math.PI * random.NextDouble());
}
