using System.Text;

namespace Nibble.Formats.HuggingFace.Tokenizers;

/// <summary>How BERT prepares text for WordPiece.</summary>
/// <param name="LowersCase">Whether letters are converted to lower case.</param>
/// <param name="StripsAccents">Whether accents are removed.</param>
internal sealed record BertNormalization(bool LowersCase, bool StripsAccents)
{
    /// <summary>Whether control characters are removed and all whitespace becomes spaces.</summary>
    public bool Cleans { get; init; } = true;

    /// <summary>Whether spaces are put around Chinese characters.</summary>
    public bool SetsIdeographsApart { get; init; } = true;
}

/// <summary>WordPiece as used by BERT (Devlin et al. 2019): the longest token at the start of a word, then the longest token that continues it.</summary>
internal sealed class WordPieceTokens : TokenModel
{
    private const string Continuing = "##";

    private readonly string[] vocabulary;
    private readonly WordPieceWords words;
    private readonly BertNormalization? normalization;

    /// <param name="path">The file, for messages.</param>
    /// <param name="vocabulary">The tokens. The index of a token is its id.</param>
    /// <param name="normalization">How text is prepared; null for no preparation.</param>
    /// <param name="unknown">The token for words that cannot be spelled.</param>
    /// <param name="longest">The maximum number of characters in a word to spell.</param>
    /// <exception cref="NibbleException">A token occurs twice, or the unknown token is missing.</exception>
    public WordPieceTokens(string path, string[] vocabulary, BertNormalization? normalization, string unknown, int longest)
    {
        this.vocabulary = vocabulary;
        this.normalization = normalization;
        var ids = new Dictionary<string, int>(vocabulary.Length, StringComparer.Ordinal);
        for (var id = 0; id < vocabulary.Length; id++)
        {
            if (!ids.TryAdd(vocabulary[id], id))
            {
                throw new NibbleException($"{path}: the token '{vocabulary[id]}' of id {id} occurs twice.");
            }
        }

        UnknownId = ids.TryGetValue(unknown, out var known) ? known
            : throw new NibbleException($"{path}: the WordPiece vocabulary has no {unknown}, the token for words that it cannot spell.");
        words = new WordPieceWords(path, ids, UnknownId, Continuing, longest);
    }

    public override int Size => vocabulary.Length;

    public override int? UnknownId { get; }

    public override int? IdOf(string text) => words.Vocabulary.TryGetValue(text, out var id) ? id : null;

    public override string? TokenOf(int id) => vocabulary[id];

    public override string Normalize(string text, bool first) => NormalizeToken(text);

    public override string NormalizeToken(string text) => normalization is { } asked ? BertText.Normalize(text, asked) : text;

    public override void Encode(string text, bool first, List<int> result)
    {
        var parts = new List<string>();
        TextRules.BertWords(text, first, parts);
        parts.ForEach(word => words.Encode(word, result));
    }

    public override string Decode(IReadOnlyList<int> pieces)
    {
        var text = new StringBuilder();
        foreach (var id in pieces)
        {
            var continues = text.Length > 0 && vocabulary[id].StartsWith(Continuing, StringComparison.Ordinal);
            text.Append(continues || text.Length == 0 ? string.Empty : " ").Append(continues ? vocabulary[id].AsSpan(Continuing.Length) : vocabulary[id]);
        }

        return text.ToString();
    }
}
