namespace Nibble.Models.Llama;

/// <summary>Decoders with the architecture of Llama (Touvron et al. 2023), including Mistral and Qwen.</summary>
internal sealed class LlamaFamily : IModelFamily
{
    /// <inheritdoc/>
    public IReadOnlyList<string> ModelTypes => LlamaConfig.SupportedTypes;

    /// <inheritdoc/>
    public ModelDefinition Parse(string configJson, string source, ICollection<string>? unknown) => LlamaConfig.Parse(configJson, source, unknown);
}
