using Nibble.Files;
using System.Text;
using Nibble.Formats.Safetensors;
using Nibble.Models.Bert;
using Nibble.Torch.Models;
using Nibble.Torch.Tests.Shared;

namespace Nibble.Torch.Tests.Models.Bert;

/// <summary>A classifier of two narrow layers whose weights follow from their names, as in <c>reference.py</c>, with a WordPiece vocabulary of 40
/// tokens.</summary>
internal sealed record TinyBert(string Type = "bert")
{
    public const int Vocabulary = 40;
    public const int Hidden = 16;
    public const int Intermediate = 24;
    public const int Layers = 2;
    public const int Positions = 12;
    public const int Labels = 3;

    public static IReadOnlyList<string> Words { get; } =
        ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "good", "bad", "film", "##s", .. Enumerable.Range(9, Vocabulary - 9).Select(id => $"w{id}")];

    public int PaddingId => Type == "roberta" ? 1 : 0;

    public double Dropout { get; init; } = 0.1;

    public string ConfigJson => Type == "distilbert"
        ? $$"""
            {"model_type":"distilbert","vocab_size":{{Vocabulary}},"dim":{{Hidden}},"hidden_dim":{{Intermediate}},"n_layers":{{Layers}},"n_heads":4,
             "max_position_embeddings":{{Positions}},"pad_token_id":0,"dropout":{{Dropout}},"id2label":{"0":"a","1":"b","2":"c"} }
            """
        : $$"""
            {"model_type":"{{Type}}","vocab_size":{{Vocabulary}},"hidden_size":{{Hidden}},"intermediate_size":{{Intermediate}},"num_hidden_layers":{{Layers}},
             "num_attention_heads":4,"max_position_embeddings":{{Positions}},"type_vocab_size":{{(Type == "bert" ? 2 : 1)}},"pad_token_id":{{PaddingId}},
             "hidden_dropout_prob":{{Dropout}},"id2label":{"0":"a","1":"b","2":"c"} }
            """;

    public BertConfig Config => BertConfig.Parse(ConfigJson, "config.json");

    /// <summary>The tensors that transformers writes for such a model.</summary>
    public SortedDictionary<string, (long[] Shape, float[] Values)> Tensors()
    {
        var tensors = new SortedDictionary<string, (long[] Shape, float[] Values)>(StringComparer.Ordinal);
        void Add(string name, params long[] shape) => tensors.Add(name, (shape, Fill(name, (int)shape.Aggregate((a, b) => a * b))));
        void AddLinear(string name, int rows, int columns)
        {
            Add(name + ".weight", rows, columns);
            Add(name + ".bias", rows);
        }

        void AddNorm(string name)
        {
            Add(name + ".weight", Hidden);
            Add(name + ".bias", Hidden);
        }

        var distilled = Type == "distilbert";
        Add($"{Type}.embeddings.word_embeddings.weight", Vocabulary, Hidden);
        Add($"{Type}.embeddings.position_embeddings.weight", Positions, Hidden);
        if (!distilled)
        {
            Add($"{Type}.embeddings.token_type_embeddings.weight", Type == "bert" ? 2 : 1, Hidden);
        }

        AddNorm($"{Type}.embeddings.LayerNorm");
        for (var index = 0; index < Layers; index++)
        {
            var layer = $"{Type}.{(distilled ? "transformer" : "encoder")}.layer.{index}.";
            foreach (var name in distilled
                ? (string[])["attention.q_lin", "attention.k_lin", "attention.v_lin", "attention.out_lin"]
                : ["attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense"])
            {
                AddLinear(layer + name, Hidden, Hidden);
            }

            AddNorm(layer + (distilled ? "sa_layer_norm" : "attention.output.LayerNorm"));
            AddLinear(layer + (distilled ? "ffn.lin1" : "intermediate.dense"), Intermediate, Hidden);
            AddLinear(layer + (distilled ? "ffn.lin2" : "output.dense"), Hidden, Intermediate);
            AddNorm(layer + (distilled ? "output_layer_norm" : "output.LayerNorm"));
        }

        AddLinear(Type switch { "bert" => "bert.pooler.dense", "roberta" => "classifier.dense", _ => "pre_classifier" }, Hidden, Hidden);
        AddLinear(Type == "roberta" ? "classifier.out_proj" : "classifier", Labels, Hidden);
        return tensors;
    }

    /// <summary>Writes the checkpoint, with the tensors changed first where <paramref name="change"/> says so.</summary>
    public string Write(string folder, Action<SortedDictionary<string, (long[] Shape, float[] Values)>>? change = null, ElementType type = ElementType.F32)
    {
        Directory.CreateDirectory(folder);
        var tensors = Tensors();
        change?.Invoke(tensors);
        File.WriteAllText(Path.Combine(folder, "config.json"), ConfigJson);
        WriteVocabulary(folder);
        SafetensorsWriter.Write(
            Path.Combine(folder, "model.safetensors"),
            [.. tensors.Select(tensor => SafetensorsTensor.FromFloats(tensor.Key, type, tensor.Value.Shape, tensor.Value.Values))]);
        return folder;
    }

    public LoadedModel Open(TemporaryFolder folder) => LoadedModel.Open(Write(folder.File(Type)));

    /// <summary>A classifier of random weights.</summary>
    public LoadedModel Create(TemporaryFolder folder, long seed = 1)
    {
        var path = folder.File("vocabulary");
        Directory.CreateDirectory(path);
        WriteVocabulary(path);
        return LoadedModel.Create(ConfigJson, path, seed);
    }

    private static void WriteVocabulary(string folder) => File.WriteAllLines(Path.Combine(folder, "vocab.txt"), Words);

    private static float[] Fill(string name, int count)
    {
        var start = Encoding.ASCII.GetBytes(name).Aggregate(0x811C9DC5u, (hash, value) => (hash ^ value) * 0x01000193);
        var (centre, scale) = name.EndsWith("bias", StringComparison.Ordinal) ? (0, 0.3) : name.Contains("orm.weight", StringComparison.Ordinal) ? (1, 0.3)
            : (0, 0.5);
        return [.. Enumerable.Range(0, count).Select(index =>
        {
            var x = start + ((uint)index * 0x9E3779B9);
            x = (x ^ (x >> 16)) * 0x85EBCA6B;
            x = (x ^ (x >> 13)) * 0xC2B2AE35;
            return (float)(centre + (scale * (((x ^ (x >> 16)) >> 8) / 8388608.0 - 1)));
        })];
    }
}
