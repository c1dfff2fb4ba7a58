using System.Text;
using Nibble.Formats;
using Nibble.Formats.Safetensors;
using Nibble.Samples.Storyteller;

namespace Nibble.Cli.Tests.Commands;

/// <summary>A folder with a decoder of a few thousand random weights, its tokenizer and two texts; it goes away with the test.</summary>
internal sealed class TinyFolder : IDisposable
{
    private const int Vocabulary = 270;
    private const int Hidden = 16;
    private const int Inner = 40;

    private const string Story = "The fox ran to the river. The river was cold, and the fox sat down to rest in the sun. ";

    private readonly int layers;

    public TinyFolder(int layers = 1)
    {
        this.layers = layers;
        Directory.CreateDirectory(Model);
        WriteConfig("llama");
        File.WriteAllText(Path.Combine(Model, "tokenizer.json"), BytePairTrainer.Train([Story], Vocabulary).ToJson());
        WriteWeights(_ => true);
        File.WriteAllText(TrainingText, Repeat(Story, 6));
        File.WriteAllText(EvaluationText, Repeat("The sun was cold. The fox sat down in the river, and ran to rest. ", 5));
    }

    public string Root { get; } = Directory.CreateTempSubdirectory("nibble-test-").FullName;

    public string Model => At("model");

    public string Weights => Path.Combine(Model, "model.safetensors");

    public string TrainingText => At("train.txt");

    public string EvaluationText => At("eval.txt");

    public string At(string name) => Path.Combine(Root, name);

    public string Write(string name, string text)
    {
        File.WriteAllText(At(name), text);
        return At(name);
    }

    public void WriteConfig(string type) => File.WriteAllText(
        Path.Combine(Model, "config.json"),
        $$"""
        {
          "model_type": "{{type}}", "vocab_size": {{Vocabulary}}, "hidden_size": {{Hidden}}, "intermediate_size": {{Inner}}, "num_hidden_layers": {{layers}},
          "num_attention_heads": 2, "num_key_value_heads": 1, "max_position_embeddings": 64, "rms_norm_eps": 1e-5
        }
        """);

    /// <summary>Writes the tensors that are wanted, each with the same values every time.</summary>
    public void WriteWeights(Func<string, bool> wanted, int seed = 7)
    {
        var random = new Random(seed);
        List<SafetensorsTensor> tensors = [Normal("model.embed_tokens.weight", Vocabulary, Hidden)];
        for (var layer = 0; layer < layers; layer++)
        {
            var block = $"model.layers.{layer}.";
            tensors.AddRange(
            [
                Ones(block + "input_layernorm.weight"),
                Ones(block + "post_attention_layernorm.weight"),
                Normal(block + "self_attn.q_proj.weight", Hidden, Hidden),
                Normal(block + "self_attn.k_proj.weight", Hidden / 2, Hidden),
                Normal(block + "self_attn.v_proj.weight", Hidden / 2, Hidden),
                Normal(block + "self_attn.o_proj.weight", Hidden, Hidden),
                Normal(block + "mlp.gate_proj.weight", Inner, Hidden),
                Normal(block + "mlp.up_proj.weight", Inner, Hidden),
                Normal(block + "mlp.down_proj.weight", Hidden, Inner),
            ]);
        }

        tensors.Add(Ones("model.norm.weight"));
        tensors.Add(Normal("lm_head.weight", Vocabulary, Hidden));
        SafetensorsWriter.Write(Weights, [.. tensors.Where(tensor => wanted(tensor.Name))]);

        SafetensorsTensor Ones(string name) => SafetensorsTensor.FromFloats(name, ElementType.F32, [Hidden], Enumerable.Repeat(1f, Hidden).ToArray());

        SafetensorsTensor Normal(string name, int rows, int columns)
        {
            var values = new float[rows * columns];
            for (var i = 0; i < values.Length; i++)
            {
                values[i] = (float)((random.NextDouble() + random.NextDouble() + random.NextDouble() - 1.5) / 2);
            }

            return SafetensorsTensor.FromFloats(name, ElementType.F32, [rows, columns], values);
        }
    }

    /// <summary>Makes the first weight of the head NaN.</summary>
    public void RuinAWeight() => RuinATensor("lm_head.weight", 0);

    /// <summary>Overwrites one value of a tensor.</summary>
    public void RuinATensor(string name, int index, float value = float.NaN)
    {
        long offset;
        using (var file = SafetensorsFile.Open(Weights))
        {
            offset = file.Entry(name).Offset;
        }

        var bytes = File.ReadAllBytes(Weights);
        BitConverter.TryWriteBytes(bytes.AsSpan((int)offset + (index * sizeof(float))), value);
        File.WriteAllBytes(Weights, bytes);
    }

    /// <summary>Every file with its bytes, by path: what must not change when a command refuses its input.</summary>
    public SortedDictionary<string, string> Content() => ContentOf(Root);

    public static SortedDictionary<string, string> ContentOf(string folder) => new(
        Directory.EnumerateFileSystemEntries(folder, "*", SearchOption.AllDirectories).ToDictionary(
            path => Path.GetRelativePath(folder, path),
            path => File.Exists(path) ? Convert.ToHexString(File.ReadAllBytes(path)) : "folder"),
        StringComparer.Ordinal);

    public void Dispose() => Directory.Delete(Root, recursive: true);

    private static string Repeat(string text, int times) => new StringBuilder().Insert(0, text, times).ToString();
}
