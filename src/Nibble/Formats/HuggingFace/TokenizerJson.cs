using System.Text.Json;
using System.Text.RegularExpressions;
using Microsoft.ML.Tokenizers;

namespace Nibble.Formats.HuggingFace;

/// <summary>A token that stands beside a vocabulary.</summary>
internal sealed record AddedToken(string Text, int Id, bool Special);

/// <summary>What a <c>tokenizer.json</c> of byte-level BPE holds.</summary>
/// <param name="Pattern">The regular expression that splits a text into words.</param>
/// <param name="Vocabulary">Ids by token, in the alphabet that stands for bytes.</param>
/// <param name="Merges">Pairs of tokens with a blank between them, the first merged first.</param>
/// <param name="Added">The tokens that are found in the text as they are.</param>
internal sealed record BytePairModel(string Pattern, Dictionary<string, int> Vocabulary, string[] Merges, IReadOnlyList<AddedToken> Added);

/// <summary>Loads <c>tokenizer.json</c>, the format of huggingface/tokenizers.</summary>
internal static class TokenizerJson
{
    // GPT-2's pattern (openai/gpt-2, encoder.py), which ByteLevel applies itself when use_regex is set.
    internal const string Gpt2Pattern = @"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";

    // The same behind a step that takes each digit out (SmolLM, StarCoder): no word crosses a digit, and blanks before one end there.
    internal const string DigitsPattern = @"\p{N}|'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?[^\s\p{L}\p{N}]+|\s+(?![^\s\p{N}])|\s+";

    // A pattern comes from the file: one that backtracks without end must not hang the program.
    private static readonly TimeSpan MatchTimeout = TimeSpan.FromSeconds(10);

    /// <summary>Loads a tokenizer of a supported kind.</summary>
    /// <param name="path">The file's path, for messages.</param>
    /// <param name="root">The file's object.</param>
    /// <param name="refusal">Why the kind is not supported, when null is returned.</param>
    /// <exception cref="NibbleException">The kind is supported but the file is broken.</exception>
    public static TextTokenizer? TryLoad(string path, JsonElement root, out string? refusal)
    {
        try
        {
            var model = root.GetProperty("model");
            var type = Text(model, "type") ?? (model.TryGetProperty("merges", out _) ? "BPE" : "WordPiece");
            switch (type)
            {
                case "BPE":
                    return Pattern(root, model, out refusal) is { } pattern ? LoadBytePairs(path, root, model, pattern) : null;
                case "WordPiece":
                    return LoadWordPiece(path, root, model, out refusal);
                default:
                    refusal = $"its model is of type {type}";
                    return null;
            }
        }
        catch (Exception exception) when (exception is KeyNotFoundException or InvalidOperationException or FormatException or ArgumentException)
        {
            // What System.Text.Json throws for a missing property or a value of another type, and Regex for a bad pattern.
            throw new NibbleException($"{path} is not a valid tokenizer: {exception.Message}", exception);
        }
    }

    private static string? Pattern(JsonElement root, JsonElement model, out string? refusal)
    {
        refusal = null;
        if (Flag(model, "byte_fallback") || Text(model, "continuing_subword_prefix") is { Length: > 0 } || Text(model, "end_of_word_suffix") is { Length: > 0 })
        {
            refusal = "its BPE model is not byte-level";
            return null;
        }

        if (root.TryGetProperty("normalizer", out var normalizer) && normalizer.ValueKind == JsonValueKind.Object && Text(normalizer, "type") is not "NFC")
        {
            refusal = $"its BPE model has a normalizer of type {Text(normalizer, "type")}";
            return null;
        }

        string? pattern = null;
        var (byteLevel, digits) = (false, false);
        foreach (var step in PreTokenizers(root))
        {
            switch (Text(step, "type"))
            {
                case "ByteLevel" when !byteLevel && !Flag(step, "add_prefix_space"):
                    byteLevel = true;

                    // use_regex is absent in old files, where it was always on.
                    pattern ??= !step.TryGetProperty("use_regex", out _) || Flag(step, "use_regex") ? (digits ? DigitsPattern : Gpt2Pattern) : null;
                    break;
                case "Digits" when !byteLevel && !digits && pattern is null && Flag(step, "individual_digits"):
                    digits = true;
                    break;
                case "Split" when pattern is null && !digits && Text(step, "behavior") == "Isolated" && !Flag(step, "invert")
                    && step.GetProperty("pattern").TryGetProperty("Regex", out var regex):
                    pattern = regex.GetString();
                    break;
                default:
                    refusal = $"its pre-tokenizer has a step {step.GetRawText()} that is not supported here";
                    return null;
            }
        }

        if (!byteLevel || pattern is null)
        {
            refusal = "its BPE model is not byte-level, or nothing splits its text into words";
            return null;
        }

        return pattern;
    }

    private static JsonElement[] PreTokenizers(JsonElement root)
    {
        if (!root.TryGetProperty("pre_tokenizer", out var step) || step.ValueKind != JsonValueKind.Object)
        {
            return [];
        }

        return Text(step, "type") == "Sequence" ? [.. step.GetProperty("pretokenizers").EnumerateArray()] : [step];
    }

    /// <summary>Reads a byte-level BPE model for what does not tokenize with it; null where the file holds another kind.</summary>
    /// <exception cref="NibbleException">The file is broken.</exception>
    public static BytePairModel? TryReadBytePairs(string path)
    {
        using var document = JsonFile.ReadObject(path);
        try
        {
            var model = document.RootElement.GetProperty("model");
            return (Text(model, "type") ?? (model.TryGetProperty("merges", out _) ? "BPE" : string.Empty)) == "BPE" && Pattern(document.RootElement, model, out _) is { } pattern
                ? ReadBytePairs(path, document.RootElement, model, pattern)
                : null;
        }
        catch (Exception exception) when (exception is KeyNotFoundException or InvalidOperationException or FormatException)
        {
            throw new NibbleException($"{path} is not a valid tokenizer: {exception.Message}", exception);
        }
    }

    private static BytePairModel ReadBytePairs(string path, JsonElement root, JsonElement model, string pattern)
    {
        var added = new List<AddedToken>();
        if (root.TryGetProperty("added_tokens", out var tokens) && tokens.ValueKind == JsonValueKind.Array)
        {
            foreach (var token in tokens.EnumerateArray())
            {
                var content = token.GetProperty("content").GetString();
                added.Add(new AddedToken(
                    content is { Length: > 0 } ? content : throw new NibbleException($"{path}: an added token has no text."),
                    token.GetProperty("id").GetInt32(),
                    Flag(token, "special")));
            }
        }

        var merges = model.GetProperty("merges").EnumerateArray().Select(merge => merge.ValueKind == JsonValueKind.Array
            ? $"{merge[0].GetString()} {merge[1].GetString()}"
            : merge.GetString()!);
        return new BytePairModel(pattern, Vocabulary(path, model), [.. merges], added);
    }

    /// <summary>Writes a byte-level BPE model.</summary>
    public static void Write(string path, BytePairModel model) => CheckpointFolder.WriteJson(path, writer =>
    {
        writer.WriteStartObject();
        writer.WriteString("version", "1.0");
        writer.WriteStartArray("added_tokens");
        foreach (var token in model.Added)
        {
            writer.WriteStartObject();
            writer.WriteNumber("id", token.Id);
            writer.WriteString("content", token.Text);
            foreach (var trait in (string[])["single_word", "lstrip", "rstrip", "normalized"])
            {
                writer.WriteBoolean(trait, false);
            }

            writer.WriteBoolean("special", token.Special);
            writer.WriteEndObject();
        }

        writer.WriteEndArray();
        writer.WriteNull("normalizer");
        writer.WritePropertyName("pre_tokenizer");
        WritePreTokenizer(writer, model.Pattern);
        writer.WriteNull("post_processor");
        writer.WritePropertyName("decoder");
        WriteByteLevel(writer, splits: true);
        writer.WriteStartObject("model");
        writer.WriteString("type", "BPE");
        writer.WriteStartObject("vocab");
        foreach (var (token, id) in model.Vocabulary.OrderBy(pair => pair.Value))
        {
            writer.WriteNumber(token, id);
        }

        writer.WriteEndObject();
        writer.WriteStartArray("merges");
        foreach (var merge in model.Merges)
        {
            writer.WriteStringValue(merge);
        }

        writer.WriteEndArray();
        writer.WriteEndObject();
        writer.WriteEndObject();
    });

    private static void WritePreTokenizer(Utf8JsonWriter writer, string pattern)
    {
        if (pattern == Gpt2Pattern)
        {
            WriteByteLevel(writer, splits: true);
            return;
        }

        writer.WriteStartObject();
        writer.WriteString("type", "Sequence");
        writer.WriteStartArray("pretokenizers");
        writer.WriteStartObject();
        if (pattern == DigitsPattern)
        {
            writer.WriteString("type", "Digits");
            writer.WriteBoolean("individual_digits", true);
        }
        else
        {
            writer.WriteString("type", "Split");
            writer.WriteStartObject("pattern");
            writer.WriteString("Regex", pattern);
            writer.WriteEndObject();
            writer.WriteString("behavior", "Isolated");
            writer.WriteBoolean("invert", false);
        }

        writer.WriteEndObject();
        WriteByteLevel(writer, splits: pattern == DigitsPattern);
        writer.WriteEndArray();
        writer.WriteEndObject();
    }

    private static void WriteByteLevel(Utf8JsonWriter writer, bool splits)
    {
        writer.WriteStartObject();
        writer.WriteString("type", "ByteLevel");
        writer.WriteBoolean("add_prefix_space", false);
        writer.WriteBoolean("trim_offsets", true);
        writer.WriteBoolean("use_regex", splits);
        writer.WriteEndObject();
    }

    private static TextTokenizer LoadBytePairs(string path, JsonElement root, JsonElement model, string pattern)
    {
        var pairs = ReadBytePairs(path, root, model, pattern);
        var special = new Dictionary<string, int>(StringComparer.Ordinal);
        foreach (var token in pairs.Added)
        {
            special[token.Text] = token.Id;
        }

        var tokenizer = BpeTokenizer.Create(new BpeOptions(pairs.Vocabulary)
        {
            Merges = pairs.Merges,
            ByteLevel = true,
            SpecialTokens = special,
            PreTokenizer = new RegexPreTokenizer(new Regex(pattern, RegexOptions.CultureInvariant | RegexOptions.Compiled, MatchTimeout), special),
        });
        return new TextTokenizer(tokenizer, pairs.Vocabulary.Values.Concat(special.Values).Max() + 1);
    }

    private static TextTokenizer? LoadWordPiece(string path, JsonElement root, JsonElement model, out string? refusal)
    {
        refusal = null;
        var (lowerCase, stripAccents) = (true, (bool?)null);
        if (root.TryGetProperty("normalizer", out var normalizer) && normalizer.ValueKind == JsonValueKind.Object)
        {
            if (Text(normalizer, "type") != "BertNormalizer")
            {
                refusal = $"its WordPiece model has a normalizer of type {Text(normalizer, "type")}; expected BertNormalizer";
                return null;
            }

            lowerCase = Flag(normalizer, "lowercase");
            stripAccents = normalizer.TryGetProperty("strip_accents", out var strip) && strip.ValueKind is JsonValueKind.True or JsonValueKind.False ? strip.GetBoolean() : null;
        }

        if (Text(model, "continuing_subword_prefix") is not (null or "##"))
        {
            refusal = $"its WordPiece model continues words with {Text(model, "continuing_subword_prefix")}; expected ##";
            return null;
        }

        var vocabulary = Vocabulary(path, model);
        var tokens = new string?[vocabulary.Count];
        foreach (var (token, id) in vocabulary)
        {
            if (id >= tokens.Length || tokens[id] is not null)
            {
                throw new NibbleException($"{path}: the id {id} of '{token}' is taken twice or leaves a gap; expected 0 to {tokens.Length - 1}, once each.");
            }

            tokens[id] = token;
        }

        return WordPiece.Load(path, tokens!, lowerCase, stripAccents);
    }

    private static Dictionary<string, int> Vocabulary(string path, JsonElement model)
    {
        var vocabulary = new Dictionary<string, int>(StringComparer.Ordinal);
        foreach (var token in model.GetProperty("vocab").EnumerateObject())
        {
            var id = token.Value.GetInt32();
            if (id < 0 || !vocabulary.TryAdd(token.Name, id))
            {
                throw new NibbleException($"{path}: the token '{token.Name}' is there twice or has a negative id {id}.");
            }
        }

        return vocabulary.Count > 0 ? vocabulary : throw new NibbleException($"{path}: the vocabulary is empty.");
    }

    private static string? Text(JsonElement element, string key) =>
        element.TryGetProperty(key, out var value) && value.ValueKind == JsonValueKind.String ? value.GetString() : null;

    private static bool Flag(JsonElement element, string key) => element.TryGetProperty(key, out var value) && value.ValueKind == JsonValueKind.True;
}
