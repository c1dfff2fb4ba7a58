using System.Text.Json;

namespace Nibble.Formats.HuggingFace;

/// <summary>
/// How the families of huggingface/transformers name the part of a model that all its tasks share, and the head of the task that is supported.
/// </summary>
/// <param name="Types">The <c>model_type</c>s.</param>
/// <param name="Prefix">What the part is called in a model with a head; null for the type itself.</param>
/// <param name="Embedding">The name of its embedding, which every checkpoint has.</param>
/// <param name="Modules">The modules of the part, as they are named where it was saved by itself.</param>
/// <param name="Head">What the names of the head's tensors start with.</param>
internal sealed record BaseModel(string[] Types, string? Prefix, string Embedding, string[] Modules, string Head)
{
    private static readonly BaseModel[] Families =
    [
        new(["llama", "mistral", "qwen2", "qwen3"], "model.", "embed_tokens.weight", ["embed_tokens.", "layers.", "norm."], "lm_head."),
        new(["bert", "roberta", "distilbert"], null, "embeddings.word_embeddings.weight", ["embeddings.", "encoder.", "transformer.", "pooler."],
            "classifier."),
    ];

    /// <summary>The family that a configuration is of, and what its tensors' names start with; null for another.</summary>
    public static (BaseModel Family, string Prefix)? Of(JsonElement config)
    {
        var type = config.TryGetProperty("model_type", out var value) && value.ValueKind == JsonValueKind.String ? value.GetString()! : string.Empty;
        return Array.Find(Families, family => family.Types.Contains(type)) is { } found ? (found, found.Prefix ?? type + ".") : null;
    }

    /// <summary>The full names of the tensors of a part that was saved by itself, and those that they are stored under; none of a model with a head.</summary>
    public static IReadOnlyDictionary<string, string> FullNames(JsonElement config, IReadOnlyCollection<string> names) =>
        Of(config) is var (family, prefix) && names.Contains(family.Embedding) && !names.Any(name => name.StartsWith(prefix, StringComparison.Ordinal))
            ? names.Where(name => Array.Exists(family.Modules, module => name.StartsWith(module, StringComparison.Ordinal)))
                .ToDictionary(name => prefix + name, StringComparer.Ordinal)
            : new Dictionary<string, string>();

    /// <summary>What a model lacks to do its task; null for nothing.</summary>
    /// <param name="config">Its configuration.</param>
    /// <param name="names">The names of its tensors, full ones.</param>
    public static string? FindMissingHead(JsonElement config, IReadOnlyCollection<string> names)
    {
        if (Of(config) is not var (family, prefix) || !names.Contains(prefix + family.Embedding)
            || names.Any(name => name.StartsWith(family.Head, StringComparison.Ordinal)))
        {
            return null;
        }

        var saved = config.TryGetProperty("architectures", out var classes) && classes.ValueKind == JsonValueKind.Array && classes.GetArrayLength() > 0
            ? $" It was saved as {classes[0]}." : string.Empty;
        var others = names.FirstOrDefault(name => !name.StartsWith(prefix, StringComparison.Ordinal)) is { } other
            ? $" It has a head of another kind, such as '{other}'." : string.Empty;
        return family.Prefix is null
            ? $"this checkpoint has no classification head ({family.Head}*).{saved}{others} Train one on it first, as transformers' "
                + "ForSequenceClassification classes have it, and save the whole; encoders are supported as classifiers alone."
            : config.TryGetProperty("tie_word_embeddings", out var tied) && tied.ValueKind == JsonValueKind.True
                ? null
                : $"this checkpoint has no head for language modelling ({family.Head}weight), and config.json does not say that the embedding is one "
                    + $"(tie_word_embeddings).{saved}{others} Save the model that writes text (ForCausalLM).";
    }
}
