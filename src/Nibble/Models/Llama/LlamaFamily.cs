namespace Nibble.Models.Llama;

/// <summary>Decoders as Llama is built (Touvron et al. 2023), with the differences of Mistral and Qwen.</summary>
internal sealed class LlamaFamily : IModelFamily
{
    /// <inheritdoc/>
    public IReadOnlyList<string> ModelTypes => LlamaConfig.SupportedTypes;

    /// <inheritdoc/>
    public ModelDefinition Parse(string configJson, string source, ICollection<string>? unknown) => LlamaConfig.Parse(configJson, source, unknown);
}
