namespace Nibble.Models.Decoders;

/// <summary>Decoders with the architecture of Llama (Touvron et al. 2023), including Mistral and Qwen.</summary>
internal sealed class DecoderFamily : IModelFamily
{
    /// <inheritdoc/>
    public IReadOnlyList<string> ModelTypes => DecoderConfig.SupportedTypes;

    /// <inheritdoc/>
    public ModelDefinition Parse(string configJson, string source, ICollection<string>? unknown) => DecoderConfig.Parse(configJson, source, unknown);
}
