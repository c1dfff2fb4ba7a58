using System.Text.Json;
using System.Text.Json.Nodes;
using Nibble.Models.Decoders.Families;

namespace Nibble.Formats.HuggingFace;

/// <summary>The language model inside a model that also has other parts, such as a vision tower.</summary>
/// <remarks>
/// Its configuration is the object <c>text_config</c>. Its tensors have names such as <c>language_model.model.norm.weight</c>, or since transformers 4.52
/// <c>model.language_model.norm.weight</c> beside <c>lm_head.weight</c>.
/// </remarks>
internal static class TextPart
{
    private const string Key = "text_config";
    private const string Head = "lm_head.";

    /// <summary>Prefixes of the language model's tensors, and what they are in a model of text alone.</summary>
    private static readonly (string Stored, string Name)[] Prefixes =
        [("language_model.model.", "model."), ("language_model.lm_head.", Head), ("model.language_model.", "model."), (Head, Head)];

    /// <summary>Keys of the whole model that hold for its language model too, if that has no value of its own.</summary>
    private static readonly string[] Shared =
        ["tie_word_embeddings", "bos_token_id", "eos_token_id", "pad_token_id", "torch_dtype", "dtype", "transformers_version", "quantization_config"];

    /// <summary>The configuration of the language model inside a model; null if the configuration is of a model of text alone, or of an unknown one.</summary>
    /// <param name="config">The configuration of the whole model.</param>
    public static string? ConfigOf(JsonElement config)
    {
        if (!config.TryGetProperty(Key, out var inner) || inner.ValueKind != JsonValueKind.Object || TypeOf(config) is not { } outer
            || DecoderFamily.Find(outer) is not null)
        {
            return null;
        }

        // The first files of Gemma 3 do not name the type of the inner model.
        var type = TypeOf(inner) ?? outer + "_text";
        if (DecoderFamily.Find(type) is not { } family)
        {
            return null;
        }

        var text = JsonObject.Create(inner)!.DeepClone().AsObject();
        text["model_type"] = type;
        text["architectures"] = new JsonArray(family.ClassOf(type));
        foreach (var key in Shared.Where(key => !text.ContainsKey(key) && config.TryGetProperty(key, out _)))
        {
            text[key] = JsonNode.Parse(config.GetProperty(key).GetRawText());
        }

        return text.ToJsonString();
    }

    /// <summary>The stored names of the language model's tensors, by their names in a model of text alone.</summary>
    /// <param name="stored">The names of all tensors.</param>
    public static IReadOnlyDictionary<string, string> Names(IEnumerable<string> stored)
    {
        var names = new Dictionary<string, string>(StringComparer.Ordinal);
        foreach (var tensor in stored)
        {
            if (Array.Find(Prefixes, prefix => tensor.StartsWith(prefix.Stored, StringComparison.Ordinal)) is { Stored: { } prefix, Name: var name })
            {
                names.TryAdd(name + tensor[prefix.Length..], tensor);
            }
        }

        return names;
    }

    /// <summary>A sentence about the parts of a model that are left out; null if it is a model of text alone.</summary>
    /// <param name="folder">The model's folder.</param>
    /// <exception cref="NibbleException">The configuration cannot be read.</exception>
    public static string? Omitted(string folder)
    {
        var path = Path.Combine(folder, Checkpoint.ConfigName);
        using var document = JsonFile.ReadObject(path);
        if (ConfigOf(document.RootElement) is null)
        {
            return null;
        }

        var others = document.RootElement.EnumerateObject().Select(property => property.Name)
            .Where(name => name.EndsWith("_config", StringComparison.Ordinal) && name is not (Key or "quantization_config")).ToList();
        return $"{path}: only the language model of this {TypeOf(document.RootElement)} is read ({Key}); other parts"
            + $"{(others.Count == 0 ? string.Empty : $" ({string.Join(", ", others)})")} are left out";
    }

    private static string? TypeOf(JsonElement config) =>
        config.TryGetProperty("model_type", out var type) && type.ValueKind == JsonValueKind.String ? type.GetString() : null;
}
