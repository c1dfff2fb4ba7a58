using System.Text;
using Nibble.Formats.HuggingFace.Tokenizers;
using Nibble.Models;

namespace Nibble.Formats.HuggingFace;

/// <summary>Converts text to the ids of a checkpoint's vocabulary, and back.</summary>
/// <remarks>
/// Supports <c>tokenizer.json</c> with BPE (GPT-2, Llama, Qwen, Mistral), unigram (T5, XLM-R), WordPiece (BERT) and word-level models,
/// <c>tokenizer.model</c> (SentencePiece BPE) and <c>vocab.txt</c> (WordPiece). Files that use an unsupported feature are rejected. Added tokens in the
/// text, for example <c>&lt;|endoftext|&gt;</c>, become their ids. Safe for concurrent calls.
/// </remarks>
public sealed class TextTokenizer
{
    private readonly TokenModel model;
    private readonly AddedTokens raw;
    private readonly AddedTokens normalized;
    private readonly Dictionary<int, string> addedTexts;
    private readonly Dictionary<int, string> addedTokens;

    private TextTokenizer(TokenizerContent content, SpecialTokens special)
    {
        (Content, model) = (content, content.Model);
        raw = new AddedTokens(content.Added.Where(token => !token.Normalized));
        normalized = new AddedTokens(content.Added.Where(token => token.Normalized).Select(token => token with { Text = model.NormalizeToken(token.Text) }));

        // The unknown token occurs in the middle of words.
        addedTexts = content.Added.Where(token => token.Id != model.UnknownId).GroupBy(token => token.Id)
            .ToDictionary(group => group.Key, group => model.DecodeToken(group.First().Text));
        addedTokens = content.Added.GroupBy(token => token.Id).ToDictionary(group => group.Key, group => group.First().Text);
        VocabularySize = Math.Max(model.Size, content.Added.Select(token => token.Id + 1).DefaultIfEmpty().Max());
        (BosId, EosId, StartId, EndId) = special;
    }

    /// <summary>
    /// The beginning-of-sequence token, whether or not the tokenizer adds it; null if the tokenizer does not name one. For BERT, <c>[CLS]</c>.
    /// </summary>
    public int? BosId { get; }

    /// <summary>The end-of-sequence token; null if the tokenizer does not name one. For BERT, <c>[SEP]</c>.</summary>
    public int? EosId { get; }

    /// <summary>The token that the tokenizer adds before text; null if it adds none.</summary>
    public int? StartId { get; }

    /// <summary>The token that the tokenizer adds after text; null if it adds none.</summary>
    public int? EndId { get; }

    /// <summary>
    /// The tokens that end generated text: those of <c>generation_config.json</c>, otherwise of <c>config.json</c>, otherwise <see cref="EosId"/>.
    /// </summary>
    public IReadOnlyList<int> StopIds { get; private init; } = [];

    /// <summary>One more than the highest id.</summary>
    public int VocabularySize { get; }

    /// <summary>The paths of all files of the tokenizer, to copy next to a model.</summary>
    public IReadOnlyList<string> Files { get; private init; } = [];

    /// <summary>The parts of the tokenizer.</summary>
    internal TokenizerContent Content { get; }

    /// <summary>Loads the tokenizer of a checkpoint's folder.</summary>
    /// <exception cref="NibbleException">The folder has no tokenizer, or a broken or unsupported one.</exception>
    public static TextTokenizer Load(string folder)
    {
        ArgumentNullException.ThrowIfNull(folder);
        var (content, special) = TokenizerLoader.Load(folder);
        return new TextTokenizer(content, special)
        {
            StopIds = GenerationConfig.StopIds(folder) ?? (special.EosId is { } eos ? [eos] : []),
            Files = TokenizerFiles.In(folder),
        };
    }

    /// <summary>Loads the tokenizer of a model, and checks that it belongs to the model.</summary>
    /// <param name="folder">The folder with the tokenizer's files.</param>
    /// <param name="definition">The model.</param>
    /// <exception cref="NibbleException">The folder has no tokenizer, it belongs to another model, or it lacks the tokens that an encoder needs.</exception>
    internal static TextTokenizer Load(string folder, ModelDefinition definition)
    {
        var tokenizer = Load(folder);
        if (tokenizer.VocabularySize > definition.VocabularySize)
        {
            throw new NibbleException($"{folder}: the tokenizer has {tokenizer.VocabularySize} tokens, expected at most the {definition.VocabularySize} of "
                + "config.json's vocab_size. The tokenizer belongs to another model");
        }

        return definition.Task == ModelTask.LanguageModelling || (tokenizer.BosId is not null && tokenizer.EosId is not null)
            ? tokenizer
            : throw new NibbleException($"{folder}: the tokenizer defines no tokens for the start and the end of a sequence ([CLS] and [SEP], or "
                + "bos_token and eos_token in tokenizer_config.json). An encoder needs them");
    }

    /// <summary>The paths of all tokenizer files in a folder; empty if it has no tokenizer.</summary>
    public static IReadOnlyList<string> FilesIn(string folder)
    {
        ArgumentNullException.ThrowIfNull(folder);
        return TokenizerFiles.In(folder);
    }

    /// <summary>Converts text to ids, without the ids that the tokenizer adds before and after it.</summary>
    /// <exception cref="NibbleException">The tokenizer cannot spell the text, or its patterns take too long on it.</exception>
    public int[] Encode(string text)
    {
        ArgumentNullException.ThrowIfNull(text);
        var ids = new List<int>(text.Length / 2);
        text = Whole(text);
        foreach (var (token, part) in raw.Split(text))
        {
            if (token is not null)
            {
                ids.Add(token.Id);
                continue;
            }

            foreach (var (later, rest) in normalized.Split(model.Normalize(part, first: ids.Count == 0)))
            {
                if (later is not null)
                {
                    ids.Add(later.Id);
                }
                else
                {
                    model.Encode(rest, first: ids.Count == 0, ids);
                }
            }
        }

        return [.. ids];
    }

    /// <summary>Converts ids to text.</summary>
    /// <exception cref="ArgumentOutOfRangeException">An id is not in the vocabulary.</exception>
    public string Decode(IReadOnlyList<int> ids)
    {
        ArgumentNullException.ThrowIfNull(ids);
        foreach (var id in ids)
        {
            ArgumentOutOfRangeException.ThrowIfNegative(id, nameof(ids));
            ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual(id, VocabularySize, nameof(ids));
        }

        if (Content.Decoder is { } decoder)
        {
            return decoder([.. ids.Select(id => addedTokens.TryGetValue(id, out var token) ? token : id < model.Size ? model.TokenOf(id) : null)
                .OfType<string>()]);
        }

        var (text, between) = (new StringBuilder(), new List<int>());
        foreach (var id in ids)
        {
            if (addedTexts.TryGetValue(id, out var added))
            {
                Flush();
                text.Append(added);
            }
            else if (id < model.Size)
            {
                between.Add(id);
            }
        }

        Flush();
        return text.ToString();

        void Flush()
        {
            text.Append(between.Count > 0 ? model.Decode(between) : string.Empty);
            between.Clear();
        }
    }

    /// <summary>The text with U+FFFD for halves of characters, as it is in UTF-8.</summary>
    private static string Whole(string text) => text.AsSpan().ContainsAnyInRange('\uD800', '\uDFFF')
        ? Encoding.UTF8.GetString(Encoding.UTF8.GetBytes(text)) : text;
}
