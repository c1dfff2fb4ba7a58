using System.Buffers;
using System.Globalization;

namespace Nibble.Formats.HuggingFace.Tokenizers;

/// <summary>A token that is matched in the text before the text is split into words.</summary>
/// <param name="Text">Its text.</param>
/// <param name="Id">Its id.</param>
/// <param name="Special">Whether it is a marker rather than text.</param>
internal sealed record AddedToken(string Text, int Id, bool Special)
{
    /// <summary>Whether it matches only without a letter, digit or underscore next to it.</summary>
    public bool SingleWord { get; init; }

    /// <summary>Whether it absorbs the spaces before it.</summary>
    public bool TakesBlanksBefore { get; init; }

    /// <summary>Whether it absorbs the spaces after it.</summary>
    public bool TakesBlanksBehind { get; init; }

    /// <summary>Whether it is matched after normalization rather than before.</summary>
    public bool Normalized { get; init; }

    /// <summary>Whether engines that search only for its text find it at the same positions.</summary>
    public bool IsPlain => !SingleWord && !TakesBlanksBefore && !TakesBlanksBehind;
}

/// <summary>Finds added tokens in text: the leftmost first, and the longest of those.</summary>
/// <remarks>Flags: huggingface/tokenizers, <c>tokenizers/src/tokenizer/added_vocabulary.rs</c>.</remarks>
internal sealed class AddedTokens
{
    private readonly Dictionary<string, AddedToken> byText = new(StringComparer.Ordinal);
    private readonly SearchValues<string> texts;
    private readonly int[] lengths;

    public AddedTokens(IEnumerable<AddedToken> tokens)
    {
        foreach (var token in tokens)
        {
            byText[token.Text] = token;
        }

        texts = SearchValues.Create([.. byText.Keys], StringComparison.Ordinal);
        lengths = [.. byText.Keys.Select(text => text.Length).Distinct().OrderDescending()];
    }

    /// <summary>Splits text at its added tokens.</summary>
    /// <returns>The tokens and the non-empty text between them, in order.</returns>
    public IEnumerable<(AddedToken? Token, string Text)> Split(string text)
    {
        var done = 0;
        for (var from = 0; byText.Count > 0 && from < text.Length;)
        {
            var at = text.AsSpan(from).IndexOfAny(texts);
            if (at < 0)
            {
                break;
            }

            var start = from + at;
            var token = Longest(text.AsSpan(start));
            var end = start + token.Text.Length;
            from = end;
            if (token.SingleWord && ((start > 0 && IsOfWord(text, start - 1)) || (end < text.Length && IsOfWord(text, end))))
            {
                continue;
            }

            while (token.TakesBlanksBefore && start > done && char.IsWhiteSpace(text[start - 1]))
            {
                start--;
            }

            while (token.TakesBlanksBehind && end < text.Length && char.IsWhiteSpace(text[end]))
            {
                end++;
            }

            if (start > done)
            {
                yield return (null, text[done..start]);
            }

            yield return (token, string.Empty);
            (done, from) = (end, end);
        }

        if (done < text.Length)
        {
            yield return (null, text[done..]);
        }
    }

    private AddedToken Longest(ReadOnlySpan<char> text)
    {
        var lookup = byText.GetAlternateLookup<ReadOnlySpan<char>>();
        foreach (var length in lengths)
        {
            if (length <= text.Length && lookup.TryGetValue(text[..length], out var token))
            {
                return token;
            }
        }

        throw new InvalidOperationException("no token starts at the position of a match");
    }

    private static bool IsOfWord(string text, int index) =>
        IsOfWord(char.ConvertToUtf32(text, char.IsLowSurrogate(text[index]) && index > 0 ? index - 1 : index));

    /// <summary>Whether a character matches <c>\w</c> in Rust's regular expressions: alphabetic characters, marks, decimal digits, connector punctuation
    /// and joiners (Unicode Technical Standard 18, annex C). Fractions and superscripts do not match.</summary>
    internal static bool IsOfWord(int character) =>
        CharUnicodeInfo.GetUnicodeCategory(character) is <= UnicodeCategory.LetterNumber or UnicodeCategory.ConnectorPunctuation
            || character is 0x200C or 0x200D or (>= 0x24B6 and <= 0x24E9) or (>= 0x1F130 and <= 0x1F149) or (>= 0x1F150 and <= 0x1F169)
                or (>= 0x1F170 and <= 0x1F189);
}
