using System.Text.Json;
using Nibble.Formats.HuggingFace;

namespace Nibble.Formats.Gguf;

/// <summary>A checkpoint's tokenizer as GGUF metadata.</summary>
/// <remarks>Keys: ggml-org/ggml, <c>docs/gguf.md</c>; the names of pre-tokenizers: ggml-org/llama.cpp, <c>convert_hf_to_gguf_update.py</c>.</remarks>
public static class GgufTokenizer
{
    internal const string Prefix = "tokenizer.ggml.";
    internal const string ChatTemplateKey = "tokenizer.chat_template";
    internal const string ChatTemplateFile = "chat_template.jinja";
    internal const string ConfigFile = "tokenizer_config.json";

    // A pattern that splits text into words is part of llama.cpp, which knows it by a name.
    internal static readonly Dictionary<string, string> PreTokenizers = new(StringComparer.Ordinal)
    {
        [TokenizerJson.Gpt2Pattern] = "gpt-2",
        [TokenizerJson.DigitsPattern] = "smollm",
        [@"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"] = "llama-bpe",
        [@"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"] = "qwen2",
    };

    /// <summary>Reads the tokenizer of a checkpoint's folder.</summary>
    /// <param name="folder">The folder; its tokenizer is one that <see cref="TextTokenizer"/> loads.</param>
    /// <param name="vocabularySize">Tokens of the model; those that the tokenizer lacks are filled up.</param>
    /// <exception cref="NibbleException">There is no tokenizer, or one that GGUF has no name for.</exception>
    public static IReadOnlyList<KeyValuePair<string, GgufValue>> Read(string folder, int vocabularySize)
    {
        var tokenizer = TextTokenizer.Load(folder);
        var json = Path.Combine(folder, TokenizerFiles.Json);
        var model = Path.Combine(folder, TokenizerFiles.SentencePiece);
        var pairs = File.Exists(json) && TokenizerJson.TryReadBytePairs(json) is { } bytePairs
            ? BytePairs(json, bytePairs, vocabularySize)
            : File.Exists(model)
                ? SentencePiece(model, vocabularySize)
                : throw new NibbleException($"{folder}: its tokenizer is WordPiece, which has no place in a GGUF file of a decoder; expected byte-level BPE or SentencePiece.");
        var special = new List<KeyValuePair<string, GgufValue>>();
        AddId("bos_token_id", tokenizer.BosId);
        AddId("eos_token_id", tokenizer.EosId);
        special.Add(new(Prefix + "add_bos_token", GgufValue.Of(Flag(folder, "add_bos_token") ?? tokenizer.BosId is not null)));
        special.Add(new(Prefix + "add_eos_token", GgufValue.Of(Flag(folder, "add_eos_token") ?? false)));
        if (ChatTemplate(folder) is { } template)
        {
            special.Add(new(ChatTemplateKey, GgufValue.Of(template)));
        }

        return [.. pairs, .. special];

        void AddId(string key, int? id)
        {
            if (id is { } value)
            {
                special.Add(new(Prefix + key, GgufValue.Of((uint)value)));
            }
        }
    }

    private static IEnumerable<KeyValuePair<string, GgufValue>> SentencePiece(string path, int vocabularySize)
    {
        var model = SentencePieceModel.Read(path);
        var pieces = Fill(path, [.. model.Pieces.Select(piece => (Piece?)piece)], vocabularySize);
        yield return new(Prefix + "model", GgufValue.Of("llama"));
        yield return new(Prefix + "pre", GgufValue.Of("default"));
        yield return new(Prefix + "tokens", GgufValue.Of([.. pieces.Select(piece => piece.Text)]));
        yield return new(Prefix + "scores", GgufValue.Of(pieces.Select(piece => piece.Score).ToArray()));
        yield return new(Prefix + "token_type", GgufValue.Of(pieces.Select(piece => (int)piece.Kind).ToArray()));
        yield return new(Prefix + "add_space_prefix", GgufValue.Of(model.AddsSpace));
        if (model.UnknownId >= 0)
        {
            yield return new(Prefix + "unknown_token_id", GgufValue.Of((uint)model.UnknownId));
        }
    }

    private static IEnumerable<KeyValuePair<string, GgufValue>> BytePairs(string path, BytePairModel model, int vocabularySize)
    {
        if (!PreTokenizers.TryGetValue(model.Pattern, out var name))
        {
            throw new NibbleException($"{path} splits text into words by {model.Pattern}, for which llama.cpp has no name that Nibble knows; known are the patterns of {string.Join(", ", PreTokenizers.Values)}.");
        }

        var pieces = new Piece?[vocabularySize];
        foreach (var (text, id) in model.Vocabulary)
        {
            Put(id, new Piece(text, 0, PieceKind.Normal));
        }

        foreach (var token in model.Added)
        {
            Put(token.Id, new Piece(token.Text, 0, token.Special ? PieceKind.Control : PieceKind.UserDefined));
        }

        var all = Fill(path, pieces, vocabularySize);
        return
        [
            new(Prefix + "model", GgufValue.Of("gpt2")),
            new(Prefix + "pre", GgufValue.Of(name)),
            new(Prefix + "tokens", GgufValue.Of([.. all.Select(piece => piece.Text)])),
            new(Prefix + "token_type", GgufValue.Of(all.Select(piece => (int)piece.Kind).ToArray())),
            new(Prefix + "merges", GgufValue.Of(model.Merges)),
        ];

        void Put(int id, Piece piece) => pieces[id >= 0 && id < vocabularySize ? id : throw TooLarge(path, id + 1L, vocabularySize)] = piece;
    }

    /// <summary>Models often have more rows than tokens, so that their number divides well.</summary>
    private static Piece[] Fill(string path, Piece?[] pieces, int vocabularySize) => pieces.Length <= vocabularySize
        ? [.. Enumerable.Range(0, vocabularySize).Select(id => (id < pieces.Length ? pieces[id] : null) ?? new Piece($"[PAD{id}]", 0, PieceKind.Unused))]
        : throw TooLarge(path, pieces.Length, vocabularySize);

    private static NibbleException TooLarge(string path, long tokens, int vocabularySize) =>
        new($"{path} has {tokens} tokens, expected at most the {vocabularySize} of config.json's vocab_size; the tokenizer belongs to another model.");

    private static bool? Flag(string folder, string key)
    {
        using var document = Config(folder);
        return document is not null && document.RootElement.TryGetProperty(key, out var value) && value.ValueKind is JsonValueKind.True or JsonValueKind.False ? value.GetBoolean() : null;
    }

    /// <summary>The template by which messages of a chat become a prompt: a file of its own, or a text or the list's default in the configuration.</summary>
    private static string? ChatTemplate(string folder)
    {
        var path = Path.Combine(folder, ChatTemplateFile);
        if (File.Exists(path))
        {
            return Utf8Text.Read(path);
        }

        using var document = Config(folder);
        if (document is null || !document.RootElement.TryGetProperty("chat_template", out var value))
        {
            return null;
        }

        var named = value.ValueKind == JsonValueKind.Array ? value.EnumerateArray().FirstOrDefault(item => Text(item, "name") == "default") : default;
        return value.ValueKind == JsonValueKind.String ? value.GetString() : Text(named, "template");

        static string? Text(JsonElement item, string key) =>
            item.ValueKind == JsonValueKind.Object && item.TryGetProperty(key, out var text) && text.ValueKind == JsonValueKind.String ? text.GetString() : null;
    }

    private static JsonDocument? Config(string folder)
    {
        var path = Path.Combine(folder, ConfigFile);
        return File.Exists(path) ? JsonFile.ReadObject(path) : null;
    }
}
