using Nibble.Files;
using System.Globalization;
using Nibble.Formats.HuggingFace;
using Nibble.Formats.Safetensors;

namespace Nibble.Benchmarks;

/// <summary>Writes a Llama checkpoint of random weights, in the shape of TinyLlama: 1.1 billion parameters, 2.2 GB in BF16, or fewer blocks.</summary>
internal static class SyntheticLlama
{
    private const int Hidden = 2048;
    private const int Intermediate = 5632;
    private const int Vocabulary = 32000;
    private const int TypicalLayers = 22;
    private const int Heads = 32;
    private const int KeyValueHeads = 4;
    private const int HeadSize = Hidden / Heads;

    /// <summary>Arguments: folder to write, folder with a SentencePiece tokenizer to copy, and the number of blocks, 22 when not given.</summary>
    public static void Run(string[] arguments)
    {
        var (folder, tokenizer) = (arguments[0], arguments[1]);
        var layers = arguments.Length > 2 ? int.Parse(arguments[2], CultureInfo.InvariantCulture) : TypicalLayers;
        Directory.CreateDirectory(folder);
        File.Copy(Path.Combine(tokenizer, "tokenizer.model"), Path.Combine(folder, "tokenizer.model"), overwrite: true);
        File.WriteAllText(Path.Combine(folder, Checkpoint.ConfigName), string.Create(
            CultureInfo.InvariantCulture,
            $$"""
            {"model_type": "llama", "vocab_size": {{Vocabulary}}, "hidden_size": {{Hidden}}, "intermediate_size": {{Intermediate}}, "num_hidden_layers": {{layers}},
             "num_attention_heads": {{Heads}}, "num_key_value_heads": {{KeyValueHeads}}, "max_position_embeddings": 2048, "rms_norm_eps": 1e-05,
             "hidden_act": "silu", "tie_word_embeddings": false, "bos_token_id": 1, "eos_token_id": 2, "torch_dtype": "bfloat16"}
            """));
        var tensors = new List<SafetensorsTensor>
        {
            Matrix("model.embed_tokens.weight", Vocabulary, Hidden),
            Matrix("lm_head.weight", Vocabulary, Hidden),
            Ones("model.norm.weight"),
        };
        for (var layer = 0; layer < layers; layer++)
        {
            var block = string.Create(CultureInfo.InvariantCulture, $"model.layers.{layer}.");
            tensors.Add(Ones(block + "input_layernorm.weight"));
            tensors.Add(Ones(block + "post_attention_layernorm.weight"));
            tensors.Add(Matrix(block + "self_attn.q_proj.weight", Hidden, Hidden));
            tensors.Add(Matrix(block + "self_attn.k_proj.weight", KeyValueHeads * HeadSize, Hidden));
            tensors.Add(Matrix(block + "self_attn.v_proj.weight", KeyValueHeads * HeadSize, Hidden));
            tensors.Add(Matrix(block + "self_attn.o_proj.weight", Hidden, Hidden));
            tensors.Add(Matrix(block + "mlp.gate_proj.weight", Intermediate, Hidden));
            tensors.Add(Matrix(block + "mlp.up_proj.weight", Intermediate, Hidden));
            tensors.Add(Matrix(block + "mlp.down_proj.weight", Hidden, Intermediate));
        }

        SafetensorsWriter.Write(Path.Combine(folder, Checkpoint.WeightsName), tensors);
    }

    private static SafetensorsTensor Ones(string name) =>
        SafetensorsTensor.FromFloats(name, ElementType.BF16, [Hidden], Enumerable.Repeat(1f, Hidden).ToArray());

    /// <summary>Normal values of deviation 0.02, a row at a time, from a seed of the tensor's own.</summary>
    private static SafetensorsTensor Matrix(string name, int rows, int columns) => new(name, ElementType.BF16, [rows, columns], stream =>
    {
        var random = new Random(name.Sum(character => character * 31));
        var row = new float[columns];
        for (var i = 0; i < rows; i++)
        {
            for (var j = 0; j < columns; j += 2)
            {
                // Box and Muller's method gives two at a time.
                var radius = 0.02 * Math.Sqrt(-2 * Math.Log(1 - random.NextDouble()));
                var (sine, cosine) = Math.SinCos(2 * Math.PI * random.NextDouble());
                (row[j], row[j + 1]) = ((float)(radius * cosine), (float)(radius * sine));
            }

            stream.Write(ElementType.BF16.ToBytes(row));
        }
    });
}
