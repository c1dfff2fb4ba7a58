using System.Text.Json;
using System.Text.RegularExpressions;
using Google.Protobuf;
using Microsoft.ML.Tokenizers;

namespace Nibble.Formats.HuggingFace;

/// <summary>Turns text into the ids of a checkpoint's vocabulary, and back.</summary>
/// <remarks>
/// Supported are <c>tokenizer.model</c> (SentencePiece BPE, as in Llama 2), <c>tokenizer.json</c> of byte-level BPE (GPT-2, Llama 3,
/// Qwen, SmolLM) or WordPiece (BERT), and <c>vocab.txt</c> (WordPiece). Special tokens that stand in the text, such as
/// <c>&lt;|endoftext|&gt;</c>, become their ids, except in SentencePiece models, which read them as plain text. Unicode
/// normalization (NFC) is not applied, so text should come normalized.
/// </remarks>
public sealed class TextTokenizer
{
    private readonly Tokenizer _model;
    private readonly Func<string, string> _prepare;

    internal TextTokenizer(Tokenizer model, int vocabularySize, Func<string, string>? prepare = null)
    {
        _model = model;
        _prepare = prepare ?? (text => text);
        VocabularySize = vocabularySize;
    }

    /// <summary>The id that stands before a text; null when the model has none. For BERT, that of <c>[CLS]</c>.</summary>
    public int? BosId { get; internal init; }

    /// <summary>The id that ends a text; null when the model has none. For BERT, that of <c>[SEP]</c>.</summary>
    public int? EosId { get; internal init; }

    /// <summary>One more than the highest id.</summary>
    public int VocabularySize { get; }

    /// <summary>The paths of all files that belong to the tokenizer, to be copied beside a model.</summary>
    public IReadOnlyList<string> Files { get; private init; } = [];

    /// <summary>Loads the tokenizer of a checkpoint's folder.</summary>
    /// <exception cref="NibbleException">The folder holds no tokenizer, or one of a kind that is not supported.</exception>
    public static TextTokenizer Load(string folder)
    {
        ArgumentNullException.ThrowIfNull(folder);
        var loaded = TokenizerLoader.Load(folder);
        var config = Path.Combine(folder, Checkpoint.ConfigName);
        var (bos, eos) = File.Exists(config) ? TokenizerLoader.ConfiguredIds(config, loaded.VocabularySize) : (null, null);
        return new TextTokenizer(loaded._model, loaded.VocabularySize, loaded._prepare)
        {
            BosId = loaded.BosId ?? bos,
            EosId = loaded.EosId ?? eos,
            Files = TokenizerFiles.In(folder),
        };
    }

    /// <summary>The paths of all files in a folder that belong to a tokenizer; none where it holds no tokenizer.</summary>
    public static IReadOnlyList<string> FilesIn(string folder)
    {
        ArgumentNullException.ThrowIfNull(folder);
        return TokenizerFiles.In(folder);
    }

    /// <summary>The ids of a text, without any that marks its beginning or end.</summary>
    public int[] Encode(string text)
    {
        ArgumentNullException.ThrowIfNull(text);
        return [.. _model.EncodeToIds(_prepare(text))];
    }

    /// <summary>The text of ids.</summary>
    /// <exception cref="ArgumentOutOfRangeException">An id is not in the vocabulary.</exception>
    public string Decode(IReadOnlyList<int> ids)
    {
        ArgumentNullException.ThrowIfNull(ids);
        foreach (var id in ids)
        {
            ArgumentOutOfRangeException.ThrowIfNegative(id, nameof(ids));
            ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual(id, VocabularySize, nameof(ids));
        }

        return _model is BpeTokenizer bpe ? bpe.Decode(ids, considerSpecialTokens: true) : _model.Decode(ids);
    }
}

/// <summary>Finds out which kind of tokenizer a folder holds and loads it.</summary>
internal static class TokenizerLoader
{
    private const string Supported =
        "Supported are tokenizer.model (SentencePiece BPE), tokenizer.json of byte-level BPE (GPT-2, Llama 3, Qwen, SmolLM) or WordPiece (BERT), and vocab.txt (WordPiece).";

    public static TextTokenizer Load(string folder)
    {
        var json = Path.Combine(folder, TokenizerFiles.Json);
        var model = Path.Combine(folder, TokenizerFiles.SentencePiece);
        var vocabulary = Path.Combine(folder, TokenizerFiles.Vocabulary);
        string? refusal = null;
        if (File.Exists(json))
        {
            using var document = JsonFile.ReadObject(json);
            if (TokenizerJson.TryLoad(json, document.RootElement, out refusal) is { } loaded)
            {
                return loaded;
            }
        }

        if (File.Exists(model))
        {
            return LoadSentencePiece(model);
        }

        if (File.Exists(vocabulary))
        {
            return WordPiece.Load(vocabulary, [.. Utf8Text.ReadLines(vocabulary)], LowerCase(folder));
        }

        throw new NibbleException(refusal is null
            ? $"The folder {folder} holds no tokenizer. {Supported}"
            : $"{json}: {refusal}. {Supported}");
    }

    /// <summary>The ids that a model's configuration names; the first where it names several.</summary>
    public static (int? Bos, int? Eos) ConfiguredIds(string path, int vocabularySize)
    {
        using var document = JsonFile.ReadObject(path);
        return (Id("bos_token_id"), Id("eos_token_id"));

        int? Id(string key)
        {
            if (!document.RootElement.TryGetProperty(key, out var value) || value.ValueKind == JsonValueKind.Null)
            {
                return null;
            }

            var first = value.ValueKind == JsonValueKind.Array && value.GetArrayLength() > 0 ? value[0] : value;
            return first.ValueKind == JsonValueKind.Number && first.TryGetInt32(out var id) && id >= 0 && id < vocabularySize
                ? id
                : throw new NibbleException($"{path}: {key} is {value}; expected an id of the vocabulary, 0 to {vocabularySize - 1}.");
        }
    }

    private static TextTokenizer LoadSentencePiece(string path)
    {
        try
        {
            using var stream = File.OpenRead(path);
            var model = LlamaTokenizer.Create(stream, addBeginOfSentence: false, addEndOfSentence: false);
            return new TextTokenizer(model, model.Vocabulary.Values.Max() + 1)
            {
                // SentencePiece writes -1 for a token that the model does not have.
                BosId = model.BeginningOfSentenceId >= 0 ? model.BeginningOfSentenceId : null,
                EosId = model.EndOfSentenceId >= 0 ? model.EndOfSentenceId : null,
            };
        }
        catch (Exception exception) when (exception is InvalidProtocolBufferException or ArgumentException or InvalidOperationException or NotSupportedException)
        {
            throw new NibbleException($"{path} cannot be read as a SentencePiece BPE model: {exception.Message} {Supported}", exception);
        }
    }

    private static bool? LowerCase(string folder)
    {
        var path = Path.Combine(folder, "tokenizer_config.json");
        if (!File.Exists(path))
        {
            return null;
        }

        using var document = JsonFile.ReadObject(path);
        return document.RootElement.TryGetProperty("do_lower_case", out var value) && value.ValueKind is JsonValueKind.True or JsonValueKind.False ? value.GetBoolean() : null;
    }
}

/// <summary>Loads WordPiece vocabularies as BERT uses them.</summary>
internal static class WordPiece
{
    private static readonly string[] Special = ["[CLS]", "[MASK]", "[PAD]", "[SEP]", "[UNK]"];

    /// <param name="path">The file, for messages.</param>
    /// <param name="vocabulary">The tokens; each one's place is its id.</param>
    /// <param name="lowerCase">Whether text is lowered; null finds out from the vocabulary.</param>
    /// <param name="stripAccents">Whether accents are dropped; null means as <paramref name="lowerCase"/>.</param>
    public static TextTokenizer Load(string path, string[] vocabulary, bool? lowerCase, bool? stripAccents = null)
    {
        var ids = new Dictionary<string, int>(StringComparer.Ordinal);
        for (var id = 0; id < vocabulary.Length; id++)
        {
            if (vocabulary[id].Contains('\n', StringComparison.Ordinal) || !ids.TryAdd(vocabulary[id], id))
            {
                throw new NibbleException($"{path}: the token '{vocabulary[id]}' of id {id} is there twice or holds a line break.");
            }
        }

        if (!ids.ContainsKey("[UNK]"))
        {
            throw new NibbleException($"{path}: the WordPiece vocabulary has no [UNK], which stands for words it cannot spell.");
        }

        var special = Special.Where(ids.ContainsKey).ToDictionary(token => token, token => ids[token], StringComparer.Ordinal);
        using var lines = new MemoryStream(System.Text.Encoding.UTF8.GetBytes(string.Join('\n', vocabulary)));
        var model = WordPieceTokenizer.Create(lines, new WordPieceOptions
        {
            PreTokenizer = new RegexPreTokenizer(BertText.Words, special),
            SpecialTokens = special,
        });

        var lower = lowerCase ?? !vocabulary.Any(token => !special.ContainsKey(token) && token.Any(char.IsAsciiLetterUpper));
        var strip = stripAccents ?? lower;
        var specials = new Regex($"({string.Join('|', special.Keys.Select(Regex.Escape))})", RegexOptions.CultureInvariant);
        return new TextTokenizer(model, vocabulary.Length, Prepare)
        {
            BosId = special.TryGetValue("[CLS]", out var cls) ? cls : null,
            EosId = special.TryGetValue("[SEP]", out var sep) ? sep : null,
        };

        string Prepare(string text) => string.Concat(specials.Split(text).Select(part => special.ContainsKey(part) ? part : BertText.Normalize(part, lower, strip)));
    }
}
