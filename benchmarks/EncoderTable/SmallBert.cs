using System.Globalization;
using Nibble.Recipes;
using Nibble.Torch.Models.Bert;

namespace Nibble.Benchmarks.EncoderTable;

/// <summary>The model of the table: BERT's shape, small enough to be trained from scratch on SST-2 in minutes, and how it is trained.</summary>
internal sealed record SmallBert
{
    /// <summary>How often a token must occur in the training texts to be in the vocabulary.</summary>
    public int LeastOccurrences { get; init; } = 2;

    public int Hidden { get; init; } = 24;

    public int Intermediate { get; init; } = 48;

    public int Layers { get; init; } = 4;

    public int Heads { get; init; } = 4;

    public double Dropout { get; init; } = 0.3;

    /// <summary>Share of the words hidden in training.</summary>
    public double MaskedShare { get; init; } = 0.3;

    public int Epochs { get; init; } = 4;

    public QatSettings Training { get; init; } = new() { BatchSize = 32, LearningRate = 1e-3, WeightDecay = 0.01, WarmUp = 0.1 };

    /// <summary>Makes the model with random weights.</summary>
    /// <param name="data">A folder with <c>sst2/</c> and <c>bert-vocab/</c>.</param>
    /// <param name="folder">Where its vocabulary is written.</param>
    /// <param name="seed">Drives the weights.</param>
    public LoadedClassifier Create(string data, string folder, long seed)
    {
        var tokens = SmallVocabulary.Write(Path.Combine(data, "bert-vocab"), Path.Combine(data, "sst2", "train.tsv"), LeastOccurrences, folder);
        return LoadedClassifier.Create(ConfigJson(tokens), folder, seed);
    }

    private string ConfigJson(int tokens) => string.Create(CultureInfo.InvariantCulture, $$"""
        {
          "architectures": ["BertForSequenceClassification"],
          "model_type": "bert",
          "vocab_size": {{tokens}},
          "hidden_size": {{Hidden}},
          "intermediate_size": {{Intermediate}},
          "num_hidden_layers": {{Layers}},
          "num_attention_heads": {{Heads}},
          "max_position_embeddings": 64,
          "type_vocab_size": 2,
          "hidden_act": "gelu",
          "hidden_dropout_prob": {{Dropout}},
          "attention_probs_dropout_prob": 0.1,
          "layer_norm_eps": 1e-12,
          "pad_token_id": 0,
          "id2label": {"0": "negative", "1": "positive"},
          "torch_dtype": "float32"
        }

        """);
}
