using Nibble.Files;
using System.Globalization;
using System.Text.Json;
using Nibble.Formats.HuggingFace;
using Nibble.Formats.Safetensors;

namespace Nibble.Benchmarks;

/// <summary>Writes checkpoints of random weights in the shapes of real decoders, in BF16: a model of any size without its download.</summary>
internal static class SyntheticDecoder
{
    private const double Deviation = 0.02;

    /// <summary>The shapes, from the models' own <c>config.json</c>.</summary>
    private static readonly Dictionary<string, Shape> Shapes = new(StringComparer.Ordinal)
    {
        ["tinyllama"] = new("llama", 32000, 2048, 5632, 22, 32, 4, "\"max_position_embeddings\": 2048, \"rms_norm_eps\": 1e-05"),
        ["smollm2-135m"] = new(
            "llama", 49152, 576, 1536, 30, 9, 3, "\"max_position_embeddings\": 8192, \"rms_norm_eps\": 1e-05, \"rope_theta\": 100000")
        {
            Tied = true,
            Shards = 2,
        },
        ["qwen2.5-0.5b"] = new(
            "qwen2", 151936, 896, 4864, 24, 14, 2, "\"max_position_embeddings\": 32768, \"rms_norm_eps\": 1e-06, \"rope_theta\": 1000000.0")
        {
            Tied = true,
            Biases = true,
            Shards = 2,
        },
        ["llama-3.2-1b"] = new(
            "llama", 128256, 2048, 8192, 16, 32, 8,
            """
            "max_position_embeddings": 131072, "rms_norm_eps": 1e-05, "rope_theta": 500000.0, "rope_scaling": {"factor": 32.0, "high_freq_factor": 4.0,
             "low_freq_factor": 1.0, "original_max_position_embeddings": 8192, "rope_type": "llama3"}
            """)
        {
            Tied = true,
            Shards = 2,
        },
    };

    /// <summary>Arguments: shape, folder to write, folder with a SentencePiece tokenizer to copy, and the number of blocks, the model's when not given.</summary>
    public static void Run(string[] arguments)
    {
        if (arguments.Length < 3 || !Shapes.TryGetValue(arguments[0], out var shape))
        {
            throw new ArgumentException($"expected SHAPE FOLDER TOKENIZER_FOLDER [BLOCKS], where SHAPE is one of {string.Join(", ", Shapes.Keys)}");
        }

        var (folder, tokenizer) = (arguments[1], arguments[2]);
        var layers = arguments.Length > 3 ? int.Parse(arguments[3], CultureInfo.InvariantCulture) : shape.Layers;
        Directory.CreateDirectory(folder);
        File.Copy(Path.Combine(tokenizer, "tokenizer.model"), Path.Combine(folder, "tokenizer.model"), overwrite: true);
        File.WriteAllText(Path.Combine(folder, Checkpoint.ConfigName), shape.Config(layers));
        var tensors = shape.Tensors(layers);
        if (shape.Shards == 1)
        {
            SafetensorsWriter.Write(Path.Combine(folder, Checkpoint.WeightsName), tensors);
            return;
        }

        var map = new SortedDictionary<string, string>(StringComparer.Ordinal);
        var size = (tensors.Count + shape.Shards - 1) / shape.Shards;
        foreach (var (number, shard) in tensors.Chunk(size).Index())
        {
            var name = string.Create(CultureInfo.InvariantCulture, $"model-{number + 1:D5}-of-{shape.Shards:D5}.safetensors");
            SafetensorsWriter.Write(Path.Combine(folder, name), shard);
            foreach (var tensor in shard)
            {
                map.Add(tensor.Name, name);
            }
        }

        File.WriteAllText(
            Path.Combine(folder, Checkpoint.IndexName),
            $$"""{"metadata": {}, "weight_map": {{JsonSerializer.Serialize(map)}}}""");
    }

    private sealed record Shape(
        string Type, int Vocabulary, int Hidden, int Intermediate, int Layers, int Heads, int KeyValueHeads, string Positions)
    {
        public bool Tied { get; init; }

        /// <summary>Whether queries, keys and values have biases.</summary>
        public bool Biases { get; init; }

        public int Shards { get; init; } = 1;

        public string Config(int layers) => string.Create(
            CultureInfo.InvariantCulture,
            $$"""
            {"model_type": "{{Type}}", "vocab_size": {{Vocabulary}}, "hidden_size": {{Hidden}}, "intermediate_size": {{Intermediate}},
             "num_hidden_layers": {{layers}}, "num_attention_heads": {{Heads}}, "num_key_value_heads": {{KeyValueHeads}}, {{Positions}},
             "hidden_act": "silu", "tie_word_embeddings": {{(Tied ? "true" : "false")}}, "bos_token_id": 1, "eos_token_id": 2, "torch_dtype": "bfloat16"}
            """);

        public List<SafetensorsTensor> Tensors(int layers)
        {
            var (queries, keys) = (Hidden, KeyValueHeads * (Hidden / Heads));
            var tensors = new List<SafetensorsTensor> { Matrix("model.embed_tokens.weight", Vocabulary, Hidden), Vector("model.norm.weight", Hidden, 1) };
            if (!Tied)
            {
                tensors.Add(Matrix("lm_head.weight", Vocabulary, Hidden));
            }

            for (var layer = 0; layer < layers; layer++)
            {
                var block = string.Create(CultureInfo.InvariantCulture, $"model.layers.{layer}.");
                tensors.Add(Vector(block + "input_layernorm.weight", Hidden, 1));
                tensors.Add(Vector(block + "post_attention_layernorm.weight", Hidden, 1));
                foreach (var (name, rows) in ((string, int)[])[("q_proj", queries), ("k_proj", keys), ("v_proj", keys)])
                {
                    tensors.Add(Matrix($"{block}self_attn.{name}.weight", rows, Hidden));
                    if (Biases)
                    {
                        tensors.Add(Vector($"{block}self_attn.{name}.bias", rows, 0));
                    }
                }

                tensors.Add(Matrix(block + "self_attn.o_proj.weight", Hidden, queries));
                tensors.Add(Matrix(block + "mlp.gate_proj.weight", Intermediate, Hidden));
                tensors.Add(Matrix(block + "mlp.up_proj.weight", Intermediate, Hidden));
                tensors.Add(Matrix(block + "mlp.down_proj.weight", Hidden, Intermediate));
            }

            return tensors;
        }

        private static SafetensorsTensor Vector(string name, int count, float value) =>
            SafetensorsTensor.FromFloats(name, ElementType.BF16, [count], Enumerable.Repeat(value, count).ToArray());

        /// <summary>Normal values, a row at a time, from a seed of the tensor's own.</summary>
        private static SafetensorsTensor Matrix(string name, int rows, int columns) => new(name, ElementType.BF16, [rows, columns], stream =>
        {
            var random = new Random(name.Sum(character => character * 31));
            var row = new float[columns];
            for (var i = 0; i < rows; i++)
            {
                for (var j = 0; j < columns; j += 2)
                {
                    // Box and Muller's method gives two at a time.
                    var radius = Deviation * Math.Sqrt(-2 * Math.Log(1 - random.NextDouble()));
                    var (sine, cosine) = Math.SinCos(2 * Math.PI * random.NextDouble());
                    (row[j], row[j + 1]) = ((float)(radius * cosine), (float)(radius * sine));
                }

                stream.Write(ElementType.BF16.ToBytes(row));
            }
        });
    }
}
