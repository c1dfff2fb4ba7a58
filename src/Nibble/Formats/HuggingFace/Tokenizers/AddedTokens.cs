using System.Buffers;
using System.Globalization;

namespace Nibble.Formats.HuggingFace.Tokenizers;

/// <summary>A token that is found in a text as it is, before the text is split into words.</summary>
/// <param name="Text">Its text.</param>
/// <param name="Id">Its id.</param>
/// <param name="Special">Whether it marks something, as opposed to being text.</param>
internal sealed record AddedToken(string Text, int Id, bool Special)
{
    /// <summary>Whether it is one only where no letter, digit or underscore stands beside it.</summary>
    public bool SingleWord { get; init; }

    /// <summary>Whether it takes the blanks before it along.</summary>
    public bool TakesBlanksBefore { get; init; }

    /// <summary>Whether it takes the blanks behind it along.</summary>
    public bool TakesBlanksBehind { get; init; }

    /// <summary>Whether it is looked for in the text after normalization, instead of before.</summary>
    public bool Normalized { get; init; }

    /// <summary>Whether engines that only look for its text find it at the same places.</summary>
    public bool IsPlain => !SingleWord && !TakesBlanksBefore && !TakesBlanksBehind;
}

/// <summary>Finds added tokens in a text: the leftmost first, and of those the longest.</summary>
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

    /// <summary>Takes a text apart.</summary>
    /// <returns>The tokens that were found and the texts between them, of which none is empty, in order.</returns>
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

        throw new InvalidOperationException("no token begins where one was found");
    }

    /// <summary>Whether a character is what <c>\w</c> matches in Rust's regular expressions: what is alphabetic, marks, decimal digits, what connects
    /// words, and the joiners (Unicode Technical Standard 18, annex C). Fractions and raised numbers are not.</summary>
    private static bool IsOfWord(string text, int index)
    {
        var character = char.ConvertToUtf32(text, char.IsLowSurrogate(text[index]) && index > 0 ? index - 1 : index);
        return CharUnicodeInfo.GetUnicodeCategory(character) is <= UnicodeCategory.LetterNumber or UnicodeCategory.ConnectorPunctuation
            || character is 0x200C or 0x200D or (>= 0x24B6 and <= 0x24E9) or (>= 0x1F130 and <= 0x1F149) or (>= 0x1F150 and <= 0x1F169)
                or (>= 0x1F170 and <= 0x1F189);
    }
}
