using System.Text.Json;

namespace Nibble.Torch.Models.Bert;

/// <summary>The shape of a BERT-family encoder for sequence classification, as its <c>config.json</c> gives it.</summary>
public sealed record BertConfig
{
    private const string Distilled = "distilbert";
    private const string Robust = "roberta";

    /// <summary>The <c>model_type</c>s that this family loads.</summary>
    public static IReadOnlyList<string> SupportedTypes { get; } = ["bert", Robust, Distilled];

    /// <summary>The <c>model_type</c>.</summary>
    public required string ModelType { get; init; }

    /// <summary>Tokens in the vocabulary.</summary>
    public required int VocabularySize { get; init; }

    /// <summary>Width of the residual stream.</summary>
    public required int HiddenSize { get; init; }

    /// <summary>Width inside the feed-forward part.</summary>
    public required int IntermediateSize { get; init; }

    /// <summary>Encoder layers.</summary>
    public required int Layers { get; init; }

    /// <summary>Attention heads; divides <see cref="HiddenSize"/>.</summary>
    public required int Heads { get; init; }

    /// <summary>Rows of the table of positions.</summary>
    public required int MaxPositions { get; init; }

    /// <summary>Rows of the table of token types, of which single sequences use the first; 0 where the family has none.</summary>
    public required int TokenTypes { get; init; }

    /// <summary>Classes, at least 2.</summary>
    public required int Labels { get; init; }

    /// <summary>The token that fills up short sequences of a batch.</summary>
    public required int PaddingId { get; init; }

    /// <summary>Added to the variance in layer normalisation.</summary>
    public double NormEpsilon { get; init; } = 1e-12;

    /// <summary>Share of values dropped in training after the embeddings and after each part of a layer, 0 to less than 1.</summary>
    public double HiddenDropout { get; init; } = 0.1;

    /// <summary>Share of attention probabilities dropped in training, 0 to less than 1.</summary>
    public double AttentionDropout { get; init; } = 0.1;

    /// <summary>Share of values dropped in training before the classifier, 0 to less than 1.</summary>
    public double ClassifierDropout { get; init; } = 0.1;

    /// <summary>Standard deviation of fresh weights.</summary>
    public double InitializerRange { get; init; } = 0.02;

    /// <summary>Whether tensors are named and the head is built as in DistilBERT (Sanh et al. 2019).</summary>
    public bool IsDistilBert => ModelType == Distilled;

    /// <summary>Whether positions are counted and the head is built as in RoBERTa (Liu et al. 2019).</summary>
    public bool IsRoberta => ModelType == Robust;

    /// <summary>The row of the table of positions that the first token takes: RoBERTa keeps the rows up to its padding token for padding.</summary>
    public int FirstPosition => IsRoberta ? PaddingId + 1 : 0;

    /// <summary>The longest sequence that the model takes, in tokens.</summary>
    public int MaxLength => MaxPositions - FirstPosition;

    /// <summary>Values in all parameters, as far as a plausibility check needs them: a lower bound that no size can overflow.</summary>
    internal double LeastParameters =>
        ((double)VocabularySize + MaxPositions + TokenTypes) * HiddenSize
        + ((double)Layers * HiddenSize * ((4.0 * HiddenSize) + (2.0 * IntermediateSize)))
        + ((double)Labels * HiddenSize);

    /// <summary>Reads a <c>config.json</c>.</summary>
    /// <param name="json">Its text.</param>
    /// <param name="source">Where it comes from, for messages.</param>
    /// <exception cref="NibbleException">The text is not the configuration of a supported classifier.</exception>
    public static BertConfig Parse(string json, string source) => Parse(json, source, unknown: null);

    /// <summary>Reads a <c>config.json</c>, and tells which of its keys nothing is known about.</summary>
    internal static BertConfig Parse(string json, string source, ICollection<string>? unknown) => ConfigReader.Parse(json, source, reader =>
    {
        var read = Read(reader);
        ConfigKeys.RequireKnown(reader, unknown);
        return read;
    });

    private static BertConfig Read(ConfigReader reader)
    {
        var type = reader.Text("model_type", string.Empty);
        if (!SupportedTypes.Contains(type))
        {
            throw new NibbleException($"{reader.Source}: model_type is '{type}', which is no encoder supported here; supported: {string.Join(", ", SupportedTypes)}");
        }

        Require(reader, type == Distilled ? "activation" : "hidden_act", "gelu");
        Require(reader, "position_embedding_type", "absolute");
        Require(reader, "problem_type", "single_label_classification");
        if (reader.Flag("is_decoder", false))
        {
            throw new NibbleException($"{reader.Source}: 'is_decoder' is true, expected an encoder");
        }

        var config = type == Distilled ? ReadDistilBert(reader) : ReadBert(reader, type);
        if (config.HiddenSize % config.Heads != 0)
        {
            throw new NibbleException($"{reader.Source}: a hidden size of {config.HiddenSize} and {config.Heads} attention heads; expected the heads to divide the hidden size");
        }

        if (config.PaddingId >= config.VocabularySize || config.MaxLength < 2)
        {
            throw new NibbleException($"{reader.Source}: pad_token_id is {config.PaddingId} with {config.VocabularySize} tokens and {config.MaxPositions} positions; expected a token of the vocabulary that leaves at least 2 positions");
        }

        return config;
    }

    private static BertConfig ReadBert(ConfigReader reader, string type)
    {
        var hiddenDropout = Share(reader, "hidden_dropout_prob", 0.1);
        return new BertConfig
        {
            ModelType = type,
            VocabularySize = reader.Positive("vocab_size"),
            HiddenSize = reader.Positive("hidden_size"),
            IntermediateSize = reader.Positive("intermediate_size"),
            Layers = reader.Positive("num_hidden_layers"),
            Heads = reader.Positive("num_attention_heads"),
            MaxPositions = reader.Positive("max_position_embeddings", 512),
            TokenTypes = reader.Positive("type_vocab_size", 2),
            Labels = ReadLabels(reader),
            PaddingId = ReadPadding(reader, type == Robust ? 1 : 0),
            NormEpsilon = ReadEpsilon(reader),
            HiddenDropout = hiddenDropout,
            AttentionDropout = Share(reader, "attention_probs_dropout_prob", 0.1),
            ClassifierDropout = Share(reader, "classifier_dropout", hiddenDropout),
            InitializerRange = ReadInitializerRange(reader),
        };
    }

    private static BertConfig ReadDistilBert(ConfigReader reader) => new()
    {
        ModelType = Distilled,
        VocabularySize = reader.Positive("vocab_size"),
        HiddenSize = reader.Positive("dim"),
        IntermediateSize = reader.Positive("hidden_dim"),
        Layers = reader.Positive("n_layers"),
        Heads = reader.Positive("n_heads"),
        MaxPositions = reader.Positive("max_position_embeddings", 512),
        TokenTypes = 0,
        Labels = ReadLabels(reader),
        PaddingId = ReadPadding(reader, 0),
        HiddenDropout = Share(reader, "dropout", 0.1),
        AttentionDropout = Share(reader, "attention_dropout", 0.1),
        ClassifierDropout = Share(reader, "seq_classif_dropout", 0.2),
        InitializerRange = ReadInitializerRange(reader),
    };

    private static void Require(ConfigReader reader, string name, string expected)
    {
        var found = reader.Text(name, expected);
        if (found != expected)
        {
            throw new NibbleException($"{reader.Source}: {name} is '{found}', expected '{expected}'");
        }
    }

    // transformers writes the names of the classes, and their number only in old files; neither means two classes.
    private static int ReadLabels(ConfigReader reader)
    {
        var labels = reader.Get("id2label") is { } names
            ? names.ValueKind == JsonValueKind.Object ? names.EnumerateObject().Count() : throw reader.Wrong("id2label", names, "an object of class names")
            : reader.Positive("num_labels", 2);
        return labels >= 2
            ? labels
            : throw new NibbleException($"{reader.Source}: the model has {labels} classes, expected at least 2; regression is not supported");
    }

    private static int ReadPadding(ConfigReader reader, int absent)
    {
        if (reader.Get("pad_token_id") is not { } value)
        {
            return absent;
        }

        return value.ValueKind == JsonValueKind.Number && value.TryGetInt32(out var id) && id >= 0
            ? id
            : throw reader.Wrong("pad_token_id", value, "the id of a token");
    }

    private static double ReadEpsilon(ConfigReader reader)
    {
        var epsilon = reader.Number("layer_norm_eps", 1e-12);
        return epsilon is > 0 and <= 1 ? epsilon : throw new NibbleException($"{reader.Source}: 'layer_norm_eps' is {epsilon}, expected a number above 0 and at most 1");
    }

    private static double ReadInitializerRange(ConfigReader reader)
    {
        var range = reader.Number("initializer_range", 0.02);
        return range is > 0 and <= 10 ? range : throw new NibbleException($"{reader.Source}: 'initializer_range' is {range}, expected a number above 0 and at most 10");
    }

    private static double Share(ConfigReader reader, string name, double absent)
    {
        var share = reader.Number(name, absent);
        return share is >= 0 and < 1 ? share : throw new NibbleException($"{reader.Source}: '{name}' is {share}, expected a share of at least 0 and less than 1");
    }
}
