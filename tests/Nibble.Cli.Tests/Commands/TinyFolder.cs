using Nibble.Files;
using System.Globalization;
using System.Text;
using Nibble.Formats.Safetensors;
using Nibble.Samples.Storyteller;

namespace Nibble.Cli.Tests.Commands;

/// <summary>A folder with a decoder of a few thousand random weights, its tokenizer and two texts; it goes away with the test.</summary>
internal sealed class TinyFolder : IDisposable
{
    private const int Vocabulary = 270;

    private const string Story = "The fox ran to the river. The river was cold, and the fox sat down to rest in the sun. ";

    private readonly int layers;
    private readonly int hidden;
    private readonly int inner;
    private readonly double spread;

    /// <param name="layers">Decoder blocks.</param>
    /// <param name="hidden">Channels.</param>
    /// <param name="inner">Channels inside of the feed-forward.</param>
    /// <param name="spread">Multiplies the weights, whose deviation is a quarter at 1: more of it, and the model amplifies whatever is rounded.</param>
    public TinyFolder(int layers = 1, int hidden = 16, int inner = 40, double spread = 1)
    {
        (this.layers, this.hidden, this.inner, this.spread) = (layers, hidden, inner, spread);
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

    public void WriteConfig(string type, double epsilon = 1e-5, int vocabulary = Vocabulary) => File.WriteAllText(
        Path.Combine(Model, "config.json"),
        $$"""
        {
          "model_type": "{{type}}", "vocab_size": {{vocabulary}}, "hidden_size": {{hidden}}, "intermediate_size": {{inner}}, "num_hidden_layers": {{layers}},
          "num_attention_heads": 2, "num_key_value_heads": 1, "max_position_embeddings": 64, "rms_norm_eps": {{epsilon.ToString(CultureInfo.InvariantCulture)}}
        }
        """);

    /// <summary>Writes the tensors that are wanted, each with the same values every time.</summary>
    public void WriteWeights(Func<string, bool> wanted, int seed = 7, int vocabulary = Vocabulary)
    {
        var random = new Random(seed);
        List<SafetensorsTensor> tensors = [Normal("model.embed_tokens.weight", vocabulary, hidden)];
        for (var layer = 0; layer < layers; layer++)
        {
            var block = $"model.layers.{layer}.";
            tensors.AddRange(
            [
                Ones(block + "input_layernorm.weight"),
                Ones(block + "post_attention_layernorm.weight"),
                Normal(block + "self_attn.q_proj.weight", hidden, hidden),
                Normal(block + "self_attn.k_proj.weight", hidden / 2, hidden),
                Normal(block + "self_attn.v_proj.weight", hidden / 2, hidden),
                Normal(block + "self_attn.o_proj.weight", hidden, hidden),
                Normal(block + "mlp.gate_proj.weight", inner, hidden),
                Normal(block + "mlp.up_proj.weight", inner, hidden),
                Normal(block + "mlp.down_proj.weight", hidden, inner),
            ]);
        }

        tensors.Add(Ones("model.norm.weight"));
        tensors.Add(Normal("lm_head.weight", vocabulary, hidden));
        SafetensorsWriter.Write(Weights, [.. tensors.Where(tensor => wanted(tensor.Name))]);

        SafetensorsTensor Ones(string name) => SafetensorsTensor.FromFloats(name, ElementType.F32, [hidden], Enumerable.Repeat(1f, hidden).ToArray());

        SafetensorsTensor Normal(string name, int rows, int columns)
        {
            var values = new float[rows * columns];
            for (var i = 0; i < values.Length; i++)
            {
                values[i] = (float)(spread * (random.NextDouble() + random.NextDouble() + random.NextDouble() - 1.5) / 2);
            }

            return SafetensorsTensor.FromFloats(name, ElementType.F32, [rows, columns], values);
        }
    }

    /// <summary>Gives the attention layers biases that matter.</summary>
    public void AddAttentionBiases()
    {
        var config = Path.Combine(Model, "config.json");
        File.WriteAllText(config, File.ReadAllText(config).Replace("\"rms_norm_eps\"", "\"attention_bias\": true, \"rms_norm_eps\"", StringComparison.Ordinal));
        var random = new Random(5);
        List<SafetensorsTensor> tensors = [];
        using (var file = SafetensorsFile.Open(Weights))
        {
            tensors.AddRange(file.Tensors.Select(tensor =>
                SafetensorsTensor.FromFloats(tensor.Name, tensor.ElementType, tensor.Shape, file.ReadFloats(tensor.Name))));
            foreach (var tensor in file.Tensors.Where(tensor => tensor.Name.Contains("self_attn", StringComparison.Ordinal)))
            {
                var bias = new float[tensor.Shape[0]];
                for (var i = 0; i < bias.Length; i++)
                {
                    bias[i] = random.NextSingle() - 0.5f;
                }

                tensors.Add(SafetensorsTensor.FromFloats(tensor.Name.Replace("weight", "bias", StringComparison.Ordinal),
                    ElementType.F32, [bias.Length], bias));
            }
        }

        SafetensorsWriter.Write(Weights, tensors);
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
            path => new FileInfo(path).LinkTarget is { } target ? $"link to {target}"
                : File.Exists(path) ? Convert.ToHexString(File.ReadAllBytes(path))
                : "folder"),
        StringComparer.Ordinal);

    public void Dispose() => Directory.Delete(Root, recursive: true);

    private static string Repeat(string text, int times) => new StringBuilder().Insert(0, text, times).ToString();
}
