using System.Globalization;
using System.Text.Json.Nodes;
using Nibble.Models.Decoders.Families;
using Nibble.Recipes;

namespace Nibble.Models.Decoders;

/// <summary>The shape of a decoder, from its <c>config.json</c>.</summary>
/// <remarks>All families are built from the same parts; what sets them apart is data here. A file in <c>Families</c> reads it from the configuration.</remarks>
public sealed record DecoderConfig : ModelDefinition
{
    /// <summary>The embedding table.</summary>
    public const string EmbeddingName = "model.embed_tokens.weight";

    /// <summary>The weight of the norm after the last block.</summary>
    public const string NormName = "model.norm.weight";

    /// <summary>The layer that yields the logits.</summary>
    public const string HeadName = "lm_head";

    /// <summary>The layer of queries, keys and values, if they are one matrix.</summary>
    internal const string FusedAttention = "self_attn.qkv_proj";

    /// <summary>The layer of gate and up projection, if they are one matrix.</summary>
    internal const string FusedFeedForward = "mlp.gate_up_proj";

    private const string HeadWeightName = HeadName + ".weight";

    /// <summary>The <c>model_type</c>s of all families of decoders.</summary>
    public static IReadOnlyList<string> SupportedTypes { get; } = [.. DecoderFamily.All.SelectMany(family => family.ModelTypes)];

    /// <summary>Width inside the feed-forward part.</summary>
    public required int IntermediateSize { get; init; }

    /// <summary>Query heads.</summary>
    public required int Heads { get; init; }

    /// <summary>Key and value heads; divides <see cref="Heads"/>.</summary>
    public required int KeyValueHeads { get; init; }

    /// <summary>Width of a head, even.</summary>
    public required int HeadSize { get; init; }

    /// <summary>Positions that the model was trained for.</summary>
    public required int MaxPositions { get; init; }

    /// <summary>How the layers see positions. The list is repeated until every layer has one.</summary>
    public required IReadOnlyList<DecoderLayer> LayerPattern { get; init; }

    /// <summary>Added to the mean square in RMSNorm.</summary>
    public double NormEpsilon { get; init; } = 1e-5;

    /// <summary>Where a block has norms.</summary>
    public DecoderNorms Norms { get; init; } = DecoderNorms.OfInputs;

    /// <summary>Whether norms multiply by 1 + weight instead of by the weight (Gemma).</summary>
    public bool NormsAddOne { get; init; }

    /// <summary>Whether the head is the transposed embedding.</summary>
    public bool TiedHead { get; init; }

    /// <summary>Whether query, key and value projections have biases.</summary>
    public bool QueryKeyValueBias { get; init; }

    /// <summary>Whether the output projection has a bias.</summary>
    public bool OutputBias { get; init; }

    /// <summary>Whether the feed-forward projections have biases.</summary>
    public bool FeedForwardBias { get; init; }

    /// <summary>Whether queries, keys and values come from one matrix, and gate and up projection from another, one below the other (Phi-3).</summary>
    public bool HasFusedProjections { get; init; }

    /// <summary>How queries and keys are normalized.</summary>
    public QueryKeyNorm QueryKeyNorm { get; init; }

    /// <summary>The function of the gate.</summary>
    public DecoderActivation Activation { get; init; }

    /// <summary>The factor of the tokens' vectors.</summary>
    public double EmbeddingScale { get; init; } = 1;

    /// <summary>The factor of what attention and feed-forward part add to the residual stream.</summary>
    public double ResidualScale { get; init; } = 1;

    /// <summary>The factor of the products of queries and keys; null for 1 / sqrt(head size).</summary>
    public double? AttentionScale { get; init; }

    /// <summary>The factor of the logits.</summary>
    public double LogitScale { get; init; } = 1;

    /// <summary>The limit c of attention scores, which become c tanh(score / c); null for none.</summary>
    public double? AttentionCap { get; init; }

    /// <summary>The limit c of logits, which become c tanh(logit / c); null for none.</summary>
    public double? LogitCap { get; init; }

    /// <summary>The window of a model that is run on shorter texts only, where the window has no effect; null for none.</summary>
    public int? SlidingWindow { get; init; }

    /// <summary>Positions up to which attention over chunks (Qwen 2.5, An et al. 2024) is plain attention; null if there are no chunks.</summary>
    public int? AttentionChunk { get; init; }

    /// <inheritdoc/>
    public override ModelTask? Task => ModelTask.LanguageModelling;

    /// <summary>The longest sequence that the model takes: its positions, or less where a window, chunks or the rotary scaling limit it.</summary>
    public override int MaxSequence => LayerPattern.Select(layer => layer.Rotary?.Scaling?.SamePositions).Append(SlidingWindow).Append(AttentionChunk)
        .OfType<int>().Append(MaxPositions).Min();

    /// <summary>How a layer sees positions.</summary>
    /// <param name="layer">Its number, from 0.</param>
    public DecoderLayer LayerOf(int layer) => LayerPattern[layer % LayerPattern.Count];

    /// <summary>The rotary embedding of the layers that see all positions, or of all layers if none does.</summary>
    internal RotaryEmbedding? Rotary => LayerPattern.OrderBy(layer => layer.Window is not null).FirstOrDefault(layer => layer.Rotary is not null)?.Rotary;

    /// <inheritdoc/>
    public override ModelShape ShapeOf(string name) =>
        new(name, Layers, HiddenSize, IntermediateSize, KeyValueHeads * HeadSize, VocabularySize, TiedHead) { Query = Heads * HeadSize };

    /// <inheritdoc/>
    public override IReadOnlyList<TensorDefinition> InputTensors => [new(EmbeddingName, [VocabularySize, HiddenSize])];

    /// <inheritdoc/>
    public override IReadOnlyList<TensorDefinition> HeadTensors =>
    [
        new(NormName, [HiddenSize]),
        .. TiedHead ? Array.Empty<TensorDefinition>() : [new(HeadWeightName, [VocabularySize, HiddenSize])],
    ];

    /// <inheritdoc/>
    public override IReadOnlyList<KeptLayer> OutOfReach =>
    [
        new KeptLayer(EmbeddingName[..^".weight".Length], "decoder embeddings stay in float"),
        .. TiedHead
            ? [new KeptLayer(HeadName, "it shares the embedding's matrix (tie_word_embeddings); a rule that names only this layer gives it its own matrix")]
            : Array.Empty<KeptLayer>(),
    ];

    /// <inheritdoc/>
    public override (string Layer, string Table)? Tied => TiedHead ? (HeadName, EmbeddingName[..^".weight".Length]) : null;

    /// <inheritdoc/>
    public override string Untie(string configJson) => TiedHead ? With(configJson, "tie_word_embeddings", false) : configJson;

    /// <summary>Of the supported types, only some have a configuration that can give every layer a bias.</summary>
    public override string AddBiases(string configJson) => DecoderFamily.Of(this).CanHaveBiases(ModelType)
        ? With(With(configJson, "attention_bias", true), "mlp_bias", true) : configJson;

    private static string With(string configJson, string key, bool value)
    {
        var config = JsonNode.Parse(configJson)!.AsObject();
        config[key] = value;
        return config.ToJsonString();
    }

    /// <inheritdoc/>
    public override string BlockPrefix(int block) => string.Create(CultureInfo.InvariantCulture, $"model.layers.{block}.");

    /// <inheritdoc/>
    public override IReadOnlyList<TensorDefinition> BlockTensors(int block)
    {
        var (queries, keys) = (Heads * HeadSize, KeyValueHeads * HeadSize);
        TensorDefinition Norm(string name, int width) => new(name + ".weight", [width]);
        return
        [
            .. Norms.Names.Select(name => Norm(name, HiddenSize)),
            .. HasFusedProjections
                ? Linear(FusedAttention, queries + (2L * keys), HiddenSize, QueryKeyValueBias)
                :
                [
                    .. Linear("self_attn.q_proj", queries, HiddenSize, QueryKeyValueBias),
                    .. Linear("self_attn.k_proj", keys, HiddenSize, QueryKeyValueBias),
                    .. Linear("self_attn.v_proj", keys, HiddenSize, QueryKeyValueBias),
                ],
            .. Linear("self_attn.o_proj", HiddenSize, queries, OutputBias),
            .. QueryKeyNorm switch
            {
                QueryKeyNorm.EachHead => [Norm("self_attn.q_norm", HeadSize), Norm("self_attn.k_norm", HeadSize)],
                QueryKeyNorm.AllHeads => [Norm("self_attn.q_norm", queries), Norm("self_attn.k_norm", keys)],
                _ => Array.Empty<TensorDefinition>(),
            },
            .. HasFusedProjections
                ? Linear(FusedFeedForward, 2L * IntermediateSize, HiddenSize, FeedForwardBias)
                :
                [
                    .. Linear("mlp.gate_proj", IntermediateSize, HiddenSize, FeedForwardBias),
                    .. Linear("mlp.up_proj", IntermediateSize, HiddenSize, FeedForwardBias),
                ],
            .. Linear("mlp.down_proj", HiddenSize, IntermediateSize, FeedForwardBias),
        ];
    }

    /// <inheritdoc/>
    public override bool IsIgnored(string tensor) => tensor.EndsWith("rotary_emb.inv_freq", StringComparison.Ordinal) || tensor == HeadWeightName;

    /// <summary>Reads a <c>config.json</c>.</summary>
    /// <param name="json">Its text.</param>
    /// <param name="source">Where it comes from, for messages.</param>
    /// <exception cref="NibbleException">The text is not a configuration of a supported model.</exception>
    public static DecoderConfig Parse(string json, string source) => Parse(json, source, unknown: null);

    /// <summary>Reads a <c>config.json</c> and reports its unknown keys.</summary>
    internal static DecoderConfig Parse(string json, string source, ICollection<string>? unknown) => ConfigReader.Parse(json, source, config =>
    {
        var reader = new DecoderReader(config);
        var read = reader.Family().Read(reader);
        ConfigKeys.RequireKnown(config, unknown);
        reader.RequireFinite(read);
        return read;
    });
}
