using System.Text.Json;
using Nibble.Formats.HuggingFace.Tokenizers;

namespace Nibble.Formats.HuggingFace;

/// <summary>The settings for text generation in a checkpoint's <c>generation_config.json</c>.</summary>
/// <param name="Samples">Whether tokens are sampled (<c>do_sample</c>). Otherwise the most likely token is taken. Null if not specified.</param>
/// <param name="Temperature">The divisor of logits; null if not specified.</param>
/// <param name="TopP">The share of probability to sample from; null if not specified.</param>
/// <param name="Others">The keys of other settings that change which tokens are sampled. They are not applied.</param>
internal sealed record GenerationConfig(bool? Samples, double? Temperature, double? TopP, IReadOnlyList<string> Others)
{
    /// <summary>The file name.</summary>
    public const string FileName = "generation_config.json";

    // Settings that have no effect at these values (huggingface/transformers, generation/configuration_utils.py).
    private static readonly string[] NeutralAtOne = ["repetition_penalty", "encoder_repetition_penalty", "typical_p", "num_beams", "guidance_scale"];

    private static readonly string[] NeutralAtZero =
        ["top_k", "top_h", "min_p", "epsilon_cutoff", "eta_cutoff", "no_repeat_ngram_size", "min_length", "min_new_tokens", "penalty_alpha"];

    private static readonly string[] Lists = ["bad_words_ids", "suppress_tokens", "begin_suppress_tokens", "forced_bos_token_id", "forced_eos_token_id",
        "sequence_bias"];

    /// <summary>Reads the file in a folder.</summary>
    /// <returns>The settings; null if there is no file.</returns>
    /// <exception cref="NibbleException">The file is broken.</exception>
    public static GenerationConfig? Read(string folder)
    {
        ArgumentNullException.ThrowIfNull(folder);
        var path = Path.Combine(folder, FileName);
        if (!File.Exists(path))
        {
            return null;
        }

        using var document = JsonFile.ReadObject(path);
        var root = new Node(path, string.Empty, document.RootElement);
        return new GenerationConfig(
            root.Flag("do_sample"),
            Number("temperature", value => value >= 0, "0 or more"),
            Number("top_p", value => value is > 0 and <= 1, "above 0 and at most 1"),
            [
                .. NeutralAtOne.Where(key => IsOther(key, 1)),
                .. NeutralAtZero.Where(key => IsOther(key, 0)),
                .. Lists.Where(key => root.Find(key) is { Value: var found } && !(found.ValueKind == JsonValueKind.Array && found.GetArrayLength() == 0)),
            ]);

        bool IsOther(string key, double neutral) => root.Find(key) is { Value.ValueKind: JsonValueKind.Number } found && found.Value.GetDouble() != neutral;

        double? Number(string key, Predicate<double> accepts, string expected) => root.Find(key) is not { } found ? null
            : found.Value.ValueKind == JsonValueKind.Number && double.IsFinite(found.Value.GetDouble()) && accepts(found.Value.GetDouble())
                ? found.Value.GetDouble()
            : throw new NibbleException($"{found.Place} is {found.Value.GetRawText()}, expected a number of {expected}.");
    }

    /// <summary>The tokens that end generated text, from <c>generation_config.json</c> or otherwise <c>config.json</c>; null if neither names
    /// any.</summary>
    /// <exception cref="NibbleException">A file is broken.</exception>
    internal static IReadOnlyList<int>? StopIds(string folder) => StopIds(folder, FileName) ?? StopIds(folder, Checkpoint.ConfigName);

    private static int[]? StopIds(string folder, string name)
    {
        var path = Path.Combine(folder, name);
        if (!File.Exists(path))
        {
            return null;
        }

        using var document = name == Checkpoint.ConfigName ? JsonDocument.Parse(Checkpoint.ReadConfig(path)) : JsonFile.ReadObject(path);
        if (new Node(path, string.Empty, document.RootElement).Find("eos_token_id") is not { } found)
        {
            return null;
        }

        JsonElement[] ids = found.Value.ValueKind == JsonValueKind.Array ? [.. found.Value.EnumerateArray()] : [found.Value];
        return Array.ConvertAll(ids, id => id.ValueKind == JsonValueKind.Number && id.TryGetInt32(out var number) && number >= 0 ? number
            : throw new NibbleException($"{found.Place} is {found.Value.GetRawText()}; expected a token id or a list of token ids."));
    }
}
