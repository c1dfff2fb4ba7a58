using System.Globalization;
using System.Text.Json;
using Nibble.Recipes;

namespace Nibble.Models.Bert;

/// <summary>The shape of a BERT-family encoder, from its <c>config.json</c>.</summary>
internal sealed record BertConfig : ModelDefinition
{
    private const string Distilled = "distilbert";
    private const string Robust = "roberta";

    /// <summary>The prefixes of heads for other tasks, mostly masked-language modelling.</summary>
    private static readonly string[] OtherHeads = ["cls.", "lm_head.", "vocab_transform.", "vocab_layer_norm.", "vocab_projector."];

    private static readonly RecipeRule Tables = new("*_embeddings", Weights: null);

    /// <summary>The <c>model_type</c>s that this family loads.</summary>
    public static IReadOnlyList<string> SupportedTypes { get; } = ["bert", Robust, Distilled];

    /// <summary>Width inside the feed-forward part.</summary>
    public required int IntermediateSize { get; init; }

    /// <summary>Attention heads; divides <see cref="ModelDefinition.HiddenSize"/>.</summary>
    public required int Heads { get; init; }

    /// <summary>Rows of the table of positions.</summary>
    public required int MaxPositions { get; init; }

    /// <summary>Rows of the table of token types, of which single sequences use the first; 0 if the family has none.</summary>
    public required int TokenTypes { get; init; }

    /// <summary>Outputs of the head: the number of classes, at least 2, or 1 for regression; 0 if there is no such head.</summary>
    public required int Labels { get; init; }

    /// <summary>The head's task; null if there is no head.</summary>
    public ModelTask? Head { get; init; } = ModelTask.Classification;

    /// <summary>How token vectors are combined into the vector of the text, for embedding.</summary>
    public Pooling Pooling { get; init; }

    /// <summary>Whether the vector of a text is scaled to length 1, for embedding.</summary>
    public bool Normalizes { get; init; }

    /// <summary>Added to the variance in layer normalisation.</summary>
    public double NormEpsilon { get; init; } = 1e-12;

    /// <summary>The dropout rate in training after the embeddings and after each part of a layer, 0 to less than 1.</summary>
    public double HiddenDropout { get; init; } = 0.1;

    /// <summary>The dropout rate of attention probabilities in training, 0 to less than 1.</summary>
    public double AttentionDropout { get; init; } = 0.1;

    /// <summary>The dropout rate in training before the classifier, 0 to less than 1.</summary>
    public double ClassifierDropout { get; init; } = 0.1;

    /// <summary>Standard deviation of newly initialized weights.</summary>
    public double InitializerRange { get; init; } = 0.02;

    /// <summary>Whether the tensor names and the head are those of DistilBERT (Sanh et al. 2019).</summary>
    public bool IsDistilBert => ModelType == Distilled;

    /// <summary>Whether the positions and the head are those of RoBERTa (Liu et al. 2019).</summary>
    public bool IsRoberta => ModelType == Robust;

    /// <summary>The row of the position table for the first token. RoBERTa keeps the rows up to its padding token for padding.</summary>
    public int FirstPosition => IsRoberta ? PaddingId + 1 : 0;

    /// <inheritdoc/>
    public override ModelTask? Task => Head;

    /// <inheritdoc/>
    public override int MaxSequence => MaxPositions - FirstPosition;

    /// <summary>Whether the family's own head, with a pooler, turns the first token's vector into outputs.</summary>
    public bool HasClassifier => Head is ModelTask.Classification or ModelTask.Regression;

    /// <inheritdoc/>
    public override IReadOnlyList<TensorDefinition> InputTensors =>
    [
        new($"{Embeddings}.word_embeddings.weight", [VocabularySize, HiddenSize]),
        new($"{Embeddings}.position_embeddings.weight", [MaxPositions, HiddenSize]),
        .. TokenTypes > 0 ? [new($"{Embeddings}.token_type_embeddings.weight", [TokenTypes, HiddenSize])] : Array.Empty<TensorDefinition>(),
        .. Norm($"{Embeddings}.LayerNorm"),
    ];

    /// <inheritdoc/>
    public override IReadOnlyList<TensorDefinition> HeadTensors => !HasClassifier ? [] : ModelType switch
    {
        Robust => [.. Linear("classifier.dense", HiddenSize, HiddenSize, bias: true), .. Linear("classifier.out_proj", Labels, HiddenSize, bias: true)],
        Distilled => [.. Linear("pre_classifier", HiddenSize, HiddenSize, bias: true), .. Linear("classifier", Labels, HiddenSize, bias: true)],
        _ => [.. Linear("bert.pooler.dense", HiddenSize, HiddenSize, bias: true), .. Linear("classifier", Labels, HiddenSize, bias: true)],
    };

    private string Embeddings => $"{ModelType}.embeddings";

    /// <inheritdoc/>
    public override string BlockPrefix(int block) =>
        string.Create(CultureInfo.InvariantCulture, $"{ModelType}.{(IsDistilBert ? "transformer" : "encoder")}.layer.{block}.");

    /// <inheritdoc/>
    public override IReadOnlyList<TensorDefinition> BlockTensors(int block) => IsDistilBert
        ?
        [
            .. ((string[])["q_lin", "k_lin", "v_lin", "out_lin"]).SelectMany(name => Linear($"attention.{name}", HiddenSize, HiddenSize, bias: true)),
            .. Norm("sa_layer_norm"),
            .. Linear("ffn.lin1", IntermediateSize, HiddenSize, bias: true),
            .. Linear("ffn.lin2", HiddenSize, IntermediateSize, bias: true),
            .. Norm("output_layer_norm"),
        ]
        :
        [
            .. ((string[])["query", "key", "value"]).SelectMany(name => Linear($"attention.self.{name}", HiddenSize, HiddenSize, bias: true)),
            .. Linear("attention.output.dense", HiddenSize, HiddenSize, bias: true),
            .. Norm("attention.output.LayerNorm"),
            .. Linear("intermediate.dense", IntermediateSize, HiddenSize, bias: true),
            .. Linear("output.dense", HiddenSize, IntermediateSize, bias: true),
            .. Norm("output.LayerNorm"),
        ];

    /// <summary>Tables of consecutive numbers from older versions of transformers, and heads of other tasks.</summary>
    public override bool IsIgnored(string tensor) =>
        tensor.EndsWith(".embeddings.position_ids", StringComparison.Ordinal) || tensor.EndsWith(".embeddings.token_type_ids", StringComparison.Ordinal)
        || OtherHeads.Any(head => tensor.StartsWith(head, StringComparison.Ordinal))
            || (!HasClassifier && tensor.StartsWith("bert.pooler.", StringComparison.Ordinal));

    /// <inheritdoc/>
    public override ModelShape ShapeOf(string name) =>
        new(name, Layers, HiddenSize, IntermediateSize, HiddenSize, VocabularySize, TiedHead: true) { IsGated = false, HasHead = false };

    /// <inheritdoc/>
    public override bool IsTable(string layer) => layer.EndsWith("_embeddings", StringComparison.Ordinal);

    /// <inheritdoc/>
    public override IReadOnlyList<KeptLayer> KeptBy(Recipe recipe) => NamesTables(recipe) ? [] :
        [.. QuantizableLayers.Where(layer => !layer.HasInput).Select(layer => new KeptLayer(
            layer.Name, "embedding tables stay in float unless a rule names embeddings"))];

    /// <summary>Tables of words, positions and types stay in float if no rule names embeddings, as in decoders.</summary>
    public override Recipe Complete(Recipe recipe) =>
        NamesTables(recipe) || recipe.Rules.Contains(Tables) ? recipe : recipe with { Rules = [Tables, .. recipe.Rules] };

    private static bool NamesTables(Recipe recipe) => recipe.Rules.Any(rule => rule != Tables && rule.Pattern.Contains("embeddings", StringComparison.Ordinal));

    private IEnumerable<TensorDefinition> Norm(string name) => [new($"{name}.weight", [HiddenSize]), new($"{name}.bias", [HiddenSize])];

    /// <summary>The number of parameters for a plausibility check: a lower bound that no size can overflow.</summary>
    internal double LeastParameters =>
        ((double)VocabularySize + MaxPositions + TokenTypes) * HiddenSize
        + ((double)Layers * HiddenSize * ((4.0 * HiddenSize) + (2.0 * IntermediateSize)))
        + ((double)Labels * HiddenSize);

    /// <summary>Reads a <c>config.json</c>.</summary>
    /// <param name="json">Its text.</param>
    /// <param name="source">Where it comes from, for messages.</param>
    /// <exception cref="NibbleException">The text is not the configuration of a supported encoder.</exception>
    public static BertConfig Parse(string json, string source) => Parse(json, source, unknown: null);

    /// <summary>Reads a <c>config.json</c> and reports its unknown keys.</summary>
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
            throw new NibbleException(
                $"{reader.Source}: model_type is '{type}', which is not a supported encoder; supported: {string.Join(", ", SupportedTypes)}");
        }

        Require(reader, type == Distilled ? "activation" : "hidden_act", "gelu");
        Require(reader, "position_embedding_type", "absolute");
        if (reader.Flag("is_decoder", false))
        {
            throw new NibbleException($"{reader.Source}: 'is_decoder' is true, expected an encoder");
        }

        var config = ReadTask(reader, type == Distilled ? ReadDistilBert(reader) : ReadBert(reader, type));
        if (config.HiddenSize % config.Heads != 0)
        {
            throw new NibbleException(
                $"{reader.Source}: a hidden size of {config.HiddenSize} and {config.Heads} attention heads; expected the heads to divide the hidden size");
        }

        if (config.PaddingId >= config.VocabularySize || config.MaxSequence < 2)
        {
            throw new NibbleException(
                $"{reader.Source}: pad_token_id is {config.PaddingId} with {config.VocabularySize} tokens and {config.MaxPositions} positions; expected a "
                + $"token of the vocabulary that leaves at least 2 positions");
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
            Labels = 0,
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
        Labels = 0,
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

    /// <summary>Sets the head's task: the one that Nibble wrote, or that of the transformers class that the model was saved as.</summary>
    private static BertConfig ReadTask(ConfigReader reader, BertConfig config)
    {
        var problem = reader.Text("problem_type", string.Empty);
        var labels = ReadLabels(reader, problem);
        if (TaskConfig.Read(reader) is { } task)
        {
            return task.Task switch
            {
                ModelTask.Embedding => config with { Head = ModelTask.Embedding, Pooling = task.Pooling, Normalizes = task.Normalizes },
                ModelTask.Classification or ModelTask.Regression => config with { Head = task.Task, Labels = labels },
                _ => throw new NibbleException($"{reader.Source}: the task is {TaskConfig.NameOf(task.Task)}, which encoders do not support; expected "
                    + "classification, regression or embedding"),
            };
        }

        // Files that name no class, written by tools other than transformers, hold classifiers.
        var saved = reader.Texts("architectures") is [var name, ..] ? name : null;
        return saved is not null && !saved.EndsWith("ForSequenceClassification", StringComparison.Ordinal) ? config with { Head = null }
            : problem is not ("" or "single_label_classification" or "regression")
            ? throw new NibbleException($"{reader.Source}: problem_type is '{problem}', expected 'single_label_classification' or 'regression'")
            : config with { Head = labels == 1 ? ModelTask.Regression : ModelTask.Classification, Labels = labels };
    }

    // transformers writes the names of the classes, and their number only in old files. If both are missing, there are two classes.
    private static int ReadLabels(ConfigReader reader, string problem)
    {
        var labels = reader.Get("id2label") is { } names
            ? names.ValueKind == JsonValueKind.Object ? names.EnumerateObject().Count() : throw reader.Wrong("id2label", names, "an object of class names")
            : reader.Positive("num_labels", problem == "regression" ? 1 : 2);
        return labels < 1 ? throw new NibbleException($"{reader.Source}: id2label is empty, expected the name of each class")
            : problem == "regression" && labels > 1
            ? throw new NibbleException($"{reader.Source}: problem_type is 'regression' with {labels} labels, expected 1: one number per text")
            : problem == "single_label_classification" && labels == 1
            ? throw new NibbleException($"{reader.Source}: the model has 1 class, expected at least 2, or problem_type 'regression'")
            : labels;
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
        return epsilon is > 0 and <= 1 ? epsilon
            : throw new NibbleException($"{reader.Source}: 'layer_norm_eps' is {epsilon}, expected a number above 0 and at most 1");
    }

    private static double ReadInitializerRange(ConfigReader reader)
    {
        var range = reader.Number("initializer_range", 0.02);
        return range is > 0 and <= 10 ? range
            : throw new NibbleException($"{reader.Source}: 'initializer_range' is {range}, expected a number above 0 and at most 10");
    }

    private static double Share(ConfigReader reader, string name, double absent)
    {
        var share = reader.Number(name, absent);
        return share is >= 0 and < 1 ? share
            : throw new NibbleException($"{reader.Source}: '{name}' is {share}, expected a share of at least 0 and less than 1");
    }
}
