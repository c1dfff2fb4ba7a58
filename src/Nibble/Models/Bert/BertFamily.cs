namespace Nibble.Models.Bert;

/// <summary>Encoders with the architecture of BERT (Devlin et al. 2019), including RoBERTa and DistilBERT.</summary>
internal sealed class BertFamily : IModelFamily
{
    /// <inheritdoc/>
    public IReadOnlyList<string> ModelTypes => BertConfig.SupportedTypes;

    /// <inheritdoc/>
    public ModelDefinition Parse(string configJson, string source, ICollection<string>? unknown) => BertConfig.Parse(configJson, source, unknown);
}
