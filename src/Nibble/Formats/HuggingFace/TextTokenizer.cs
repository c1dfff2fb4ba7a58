using System.Text;
using Nibble.Formats.HuggingFace.Tokenizers;

namespace Nibble.Formats.HuggingFace;

/// <summary>Turns text into the ids of a checkpoint's vocabulary, and back.</summary>
/// <remarks>
/// Supported are <c>tokenizer.json</c> of byte-level BPE (GPT-2, Llama 3, Qwen, SmolLM), SentencePiece BPE (Llama 2, Mistral) and WordPiece (BERT),
/// <c>tokenizer.model</c> (SentencePiece BPE) and <c>vocab.txt</c> (WordPiece). What a file asks for and is not done is refused. Added
/// tokens that stand in the text, such as <c>&lt;|endoftext|&gt;</c>, become their ids.
/// </remarks>
public sealed class TextTokenizer
{
    private readonly TokenModel model;
    private readonly AddedTokens raw;
    private readonly AddedTokens normalized;
    private readonly Dictionary<int, string> addedTexts;

    private TextTokenizer(TokenizerContent content, SpecialTokens special)
    {
        (Content, model) = (content, content.Model);
        raw = new AddedTokens(content.Added.Where(token => !token.Normalized));
        normalized = new AddedTokens(content.Added.Where(token => token.Normalized).Select(token => token with { Text = model.NormalizeToken(token.Text) }));

        // What is unknown stands in the middle of words.
        addedTexts = content.Added.Where(token => token.Id != model.UnknownId).GroupBy(token => token.Id)
            .ToDictionary(group => group.Key, group => model.DecodeToken(group.First().Text));
        VocabularySize = Math.Max(model.Size, content.Added.Select(token => token.Id + 1).DefaultIfEmpty().Max());
        (BosId, EosId, StartId, EndId) = special;
    }

    /// <summary>
    /// The token that is called the beginning of a sequence, whether it is put before texts or not; null where nothing names one. For BERT, <c>[CLS]</c>.
    /// </summary>
    public int? BosId { get; }

    /// <summary>The token that is called the end of a sequence; null where nothing names one. For BERT, <c>[SEP]</c>.</summary>
    public int? EosId { get; }

    /// <summary>The token that the tokenizer puts before a text; null where it puts none there.</summary>
    public int? StartId { get; }

    /// <summary>The token that the tokenizer puts behind a text; null where it puts none there.</summary>
    public int? EndId { get; }

    /// <summary>
    /// The tokens at which a text that is generated ends: those of <c>generation_config.json</c>, otherwise of <c>config.json</c>, otherwise <see
    /// cref="EosId"/>.
    /// </summary>
    public IReadOnlyList<int> StopIds { get; private init; } = [];

    /// <summary>One more than the highest id.</summary>
    public int VocabularySize { get; }

    /// <summary>The paths of all files that belong to the tokenizer, to be copied beside a model.</summary>
    public IReadOnlyList<string> Files { get; private init; } = [];

    /// <summary>What the tokenizer is made of.</summary>
    internal TokenizerContent Content { get; }

    /// <summary>Loads the tokenizer of a checkpoint's folder.</summary>
    /// <exception cref="NibbleException">The folder holds no tokenizer, or one that is broken or of a kind that is not supported.</exception>
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

    /// <summary>The paths of all files in a folder that belong to a tokenizer; none where it holds no tokenizer.</summary>
    public static IReadOnlyList<string> FilesIn(string folder)
    {
        ArgumentNullException.ThrowIfNull(folder);
        return TokenizerFiles.In(folder);
    }

    /// <summary>The ids of a text, without those that the tokenizer puts before and behind it.</summary>
    /// <exception cref="NibbleException">The text holds what the tokenizer cannot spell, or its patterns take too long on it.</exception>
    public int[] Encode(string text)
    {
        ArgumentNullException.ThrowIfNull(text);
        var ids = new List<int>(text.Length / 2);
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
                    model.Encode(rest, ids);
                }
            }
        }

        return [.. ids];
    }

    /// <summary>The text of ids.</summary>
    /// <exception cref="ArgumentOutOfRangeException">An id is not in the vocabulary.</exception>
    public string Decode(IReadOnlyList<int> ids)
    {
        ArgumentNullException.ThrowIfNull(ids);
        var (text, between) = (new StringBuilder(), new List<int>());
        foreach (var id in ids)
        {
            ArgumentOutOfRangeException.ThrowIfNegative(id, nameof(ids));
            ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual(id, VocabularySize, nameof(ids));
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
}
