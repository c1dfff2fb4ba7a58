namespace Nibble.Models.Bert;

/// <summary>Encoders as BERT is built (Devlin et al. 2019), with the differences of RoBERTa and DistilBERT.</summary>
internal sealed class BertFamily : IModelFamily
{
    /// <inheritdoc/>
    public IReadOnlyList<string> ModelTypes => BertConfig.SupportedTypes;

    /// <inheritdoc/>
    public ModelDefinition Parse(string configJson, string source, ICollection<string>? unknown) => BertConfig.Parse(configJson, source, unknown);
}
