using System.Text.Json;
using Nibble.Models.Decoders;

namespace Nibble.Formats.HuggingFace;

/// <summary>
/// How the model families of huggingface/transformers name the base model, which all tasks share, and the head of the supported task.
/// </summary>
/// <param name="Types">The values of <c>model_type</c>.</param>
/// <param name="Prefix">The prefix of the base model's tensors in a model with a head; null for the type itself.</param>
/// <param name="Embedding">The name of the embedding, which every checkpoint has.</param>
/// <param name="Modules">The modules of the base model, as named if it was saved without a head.</param>
/// <param name="Head">The prefix of the head's tensor names.</param>
internal sealed record BaseModel(string[] Types, string? Prefix, string Embedding, string[] Modules, string Head)
{
    private static readonly BaseModel[] Families =
    [
        new([.. DecoderConfig.SupportedTypes], "model.", "embed_tokens.weight", ["embed_tokens.", "layers.", "norm."], "lm_head."),
        new(["bert", "roberta", "distilbert"], null, "embeddings.word_embeddings.weight", ["embeddings.", "encoder.", "transformer.", "pooler."],
            "classifier."),
    ];

    /// <summary>Finds the family of a configuration and the prefix of its base model; null if the family is unknown.</summary>
    public static (BaseModel Family, string Prefix)? Of(JsonElement config)
    {
        var type = config.TryGetProperty("model_type", out var value) && value.ValueKind == JsonValueKind.String ? value.GetString()! : string.Empty;
        return Array.Find(Families, family => family.Types.Contains(type)) is { } found ? (found, found.Prefix ?? type + ".") : null;
    }

    /// <summary>Maps the full tensor names of a base model that was saved without a head to the stored names. Empty for a model with a head.</summary>
    public static IReadOnlyDictionary<string, string> FullNames(JsonElement config, IReadOnlyCollection<string> names) =>
        Of(config) is var (family, prefix) && names.Contains(family.Embedding) && !names.Any(name => name.StartsWith(prefix, StringComparison.Ordinal))
            ? names.Where(name => Array.Exists(family.Modules, module => name.StartsWith(module, StringComparison.Ordinal)))
                .ToDictionary(name => prefix + name, StringComparer.Ordinal)
            : new Dictionary<string, string>();

    /// <summary>Describes the head that a model lacks for its task; null if nothing is missing.</summary>
    /// <param name="config">The model's configuration.</param>
    /// <param name="names">The full names of its tensors.</param>
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
            ? $" It has another kind of head, such as '{other}'." : string.Empty;
        return family.Prefix is null
            ? $"this checkpoint has no classification head ({family.Head}*).{saved}{others} Train a head on it first, with one of transformers' "
                + "ForSequenceClassification classes, and save the whole model. Encoders are supported only as classifiers."
            : config.TryGetProperty("tie_word_embeddings", out var tied) && tied.ValueKind == JsonValueKind.True
                ? null
                : $"this checkpoint has no language-modelling head ({family.Head}weight), and config.json does not say that the embedding serves as one "
                    + $"(tie_word_embeddings).{saved}{others} Save the model with its head (ForCausalLM).";
    }
}
