using System.Text.Json;

namespace Nibble.Models.Decoders.Families;

/// <summary>The dense models of Granite 3 (IBM 2024): Llama with factors of embedding, scores, residuals and logits.</summary>
/// <remarks>Keys: huggingface/transformers, <c>configuration_granite.py</c>.</remarks>
internal sealed class GraniteFamily : DecoderFamily
{
    private const string AttentionKey = "attention.scale";

    private static readonly (string Key, string Name)[] Multipliers =
    [
        (AttentionKey, "attention_multiplier"), ("embedding_scale", "embedding_multiplier"), ("residual_scale", "residual_multiplier"),
        ("logit_scale", "logits_scaling"),
    ];

    public override IReadOnlyList<string> ModelTypes => ["granite"];

    public override string NameOf(string modelType) => "Granite 3 (dense models)";

    public override bool CanHaveBiases(string modelType) => true;

    public override string ClassOf(string modelType) => "GraniteForCausalLM";

    public override DecoderConfig Read(DecoderReader reader)
    {
        var config = reader.Config;
        reader.RequireActivation("hidden_act", "silu");
        var defaults = new DecoderDefaults();
        var bias = config.Flag("attention_bias", false);
        return reader.Read(defaults, Uniform(reader, defaults)) with
        {
            EmbeddingScale = config.PositiveNumber("embedding_multiplier", 1),
            ResidualScale = config.PositiveNumber("residual_multiplier", 1),
            AttentionScale = config.PositiveNumber("attention_multiplier", 1),
            LogitScale = 1 / config.PositiveNumber("logits_scaling", 1),
            QueryKeyValueBias = bias,
            OutputBias = bias,
            FeedForwardBias = config.Flag("mlp_bias", false),
        };
    }

    public override GgufArchitecture Gguf(DecoderConfig config) => new("granite")
    {
        ReordersHeads = true,
        QueryKeyValueBias = true,
        OutputBias = true,
        FeedForwardBias = true,
        RotaryFactors = true,
        Keys =
        [
            new(AttentionKey, config.AttentionScale!.Value), new("embedding_scale", config.EmbeddingScale), new("residual_scale", config.ResidualScale),
            new("logit_scale", 1 / config.LogitScale),
        ],
    };

    public override string? TypeOf(string architecture, IGgufKeys file) => architecture == "granite" ? "granite" : null;

    public override void WriteKeys(Utf8JsonWriter json, IGgufKeys file, int headSize)
    {
        base.WriteKeys(json, file, headSize);
        foreach (var (key, name) in Multipliers)
        {
            if (file.Number(key) is { } value)
            {
                json.WriteNumber(name, value);
            }
        }

        if (file.Number(AttentionKey) is null)
        {
            json.WriteNumber("attention_multiplier", 1 / Math.Sqrt(headSize));
        }
    }
}
