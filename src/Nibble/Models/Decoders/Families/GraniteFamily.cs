namespace Nibble.Models.Decoders.Families;

/// <summary>The dense models of Granite 3 (IBM 2024): Llama with factors of embedding, scores, residuals and logits.</summary>
/// <remarks>Keys: huggingface/transformers, <c>configuration_granite.py</c>.</remarks>
internal sealed class GraniteFamily : DecoderFamily
{
    public override IReadOnlyList<string> ModelTypes => ["granite"];

    public override bool CanHaveBiases(string modelType) => true;

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
            Key("attention.scale", config.AttentionScale!.Value), Key("embedding_scale", config.EmbeddingScale), Key("residual_scale", config.ResidualScale),
            Key("logit_scale", 1 / config.LogitScale),
        ],
    };
}
