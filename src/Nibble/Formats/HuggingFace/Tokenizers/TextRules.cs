using System.Globalization;
using System.Text;

namespace Nibble.Formats.HuggingFace.Tokenizers;

/// <summary>What becomes of the text that a step splits at.</summary>
internal enum SplitBehavior
{
    /// <summary>It is dropped.</summary>
    Removed,

    /// <summary>Each match is a part.</summary>
    Isolated,

    /// <summary>It belongs to the part before it.</summary>
    MergedWithPrevious,

    /// <summary>It belongs to the part after it.</summary>
    MergedWithNext,

    /// <summary>Adjacent matches are one part.</summary>
    Contiguous,
}

/// <summary>Splits a text into parts, and may change it.</summary>
/// <param name="text">The text, which is not empty.</param>
/// <param name="first">Whether the whole text begins with it.</param>
/// <param name="parts">The list to append to. Empty parts are ignored.</param>
internal delegate void TextRule(string text, bool first, List<string> parts);

/// <summary>The steps of a <c>pre_tokenizer</c>.</summary>
/// <remarks>Follows huggingface/tokenizers, <c>tokenizers/src/pre_tokenizers</c> and <c>tokenizer/normalizer.rs</c> (the behaviours).</remarks>
internal static class TextRules
{
    private static readonly TextRule Blanks = Split(Characters(Rune.IsWhiteSpace), SplitBehavior.Removed);
    private static readonly TextRule Marks = Split(Characters(IsPunctuation), SplitBehavior.Isolated);

    /// <summary>Applies rules one after the other.</summary>
    /// <param name="rules">The rules.</param>
    /// <param name="text">The text.</param>
    /// <param name="first">Whether the whole text begins with it.</param>
    /// <returns>The parts. None that a rule made is empty.</returns>
    public static List<string> Apply(IReadOnlyList<TextRule> rules, string text, bool first)
    {
        List<string> parts = [text];
        foreach (var rule in rules)
        {
            var next = new List<string>();
            foreach (var (index, part) in parts.Index())
            {
                rule(part, first && index == 0, next);
            }

            next.RemoveAll(part => part.Length == 0);
            parts = next;
        }

        return parts;
    }

    /// <summary>Splits at what a function finds.</summary>
    /// <param name="find">Finds the matches in a text, in order.</param>
    /// <param name="behavior">What becomes of the matches.</param>
    /// <param name="inverts">Whether the text between matches counts as the matches.</param>
    public static TextRule Split(Func<string, List<(int Start, int End)>> find, SplitBehavior behavior, bool inverts = false) =>
        (text, _, parts) =>
        {
            foreach (var (start, end) in Joined(behavior, Cover(text, find(text), inverts)))
            {
                parts.Add(text[start..end]);
            }
        };

    /// <summary>Finds a literal text.</summary>
    public static Func<string, List<(int Start, int End)>> Literal(string literal) => text =>
    {
        var found = new List<(int Start, int End)>();
        for (var at = text.IndexOf(literal, StringComparison.Ordinal); at >= 0;
            at = text.IndexOf(literal, at + literal.Length, StringComparison.Ordinal))
        {
            found.Add((at, at + literal.Length));
        }

        return found;
    };

    /// <summary>Finds characters, each of which is a match.</summary>
    public static Func<string, List<(int Start, int End)>> Characters(Func<Rune, bool> counts) => text =>
    {
        var (found, at) = (new List<(int Start, int End)>(), 0);
        foreach (var rune in text.EnumerateRunes())
        {
            if (counts(rune))
            {
                found.Add((at, at + rune.Utf16SequenceLength));
            }

            at += rune.Utf16SequenceLength;
        }

        return found;
    };

    /// <summary>Numbers of any kind.</summary>
    public static bool IsNumber(Rune rune) => Rune.GetUnicodeCategory(rune)
        is UnicodeCategory.DecimalDigitNumber or UnicodeCategory.LetterNumber or UnicodeCategory.OtherNumber;

    /// <summary>Punctuation, to which all ASCII characters belong that are neither letters, digits, blanks nor control characters.</summary>
    public static bool IsPunctuation(Rune rune) => rune.IsAscii
        ? rune.Value is > ' ' and < 0x7F && !Rune.IsLetterOrDigit(rune)
        : UnicodeNormalization.IsPunctuation(rune.Value);

    /// <summary>BERT's words and punctuation marks.</summary>
    public static void BertWords(string text, bool first, List<string> parts)
    {
        var words = new List<string>();
        Blanks(text, first, words);
        words.ForEach(word => Marks(word, first, parts));
    }

    /// <summary>Words as in <c>\w+|[^\w\s]+</c>; all else is dropped.</summary>
    public static void Words(string text, bool first, List<string> parts)
    {
        var (start, kind, at) = (0, -1, 0);
        foreach (var rune in text.EnumerateRunes())
        {
            var next = AddedTokens.IsOfWord(rune.Value) ? 1 : Rune.IsWhiteSpace(rune) ? 0 : 2;
            if (next != kind)
            {
                Take(at);
                (start, kind) = (at, next);
            }

            at += rune.Utf16SequenceLength;
        }

        Take(at);

        void Take(int end)
        {
            if (kind > 0)
            {
                parts.Add(text[start..end]);
            }
        }
    }

    /// <summary>Replaces blanks with a mark, and may put one before the text.</summary>
    /// <param name="mark">The mark.</param>
    /// <param name="before">Which text gets one, unless it starts with one.</param>
    /// <param name="splits">Whether to split before each mark.</param>
    public static TextRule Metaspace(string mark, BlankBefore before, bool splits)
    {
        var split = Split(Literal(mark), SplitBehavior.MergedWithNext);
        return (text, first, parts) =>
        {
            text = text.Replace(" ", mark, StringComparison.Ordinal);
            if ((before == BlankBefore.Always || (before == BlankBefore.First && first)) && !text.StartsWith(mark, StringComparison.Ordinal))
            {
                text = mark + text;
            }

            if (splits)
            {
                split(text, first, parts);
            }
            else
            {
                parts.Add(text);
            }
        };
    }

    /// <summary>Puts a blank before text that has none, and splits as GPT-2 does, as asked; then writes the bytes as characters.</summary>
    public static TextRule ByteLevel(bool putsBlank, bool splits)
    {
        var words = splits ? new TextPattern(TokenizerJson.Gpt2Pattern) : null;
        return (text, first, parts) =>
        {
            text = putsBlank && text[0] != ' ' ? ' ' + text : text;
            foreach (var (start, end, _) in Cover(text, words?.Matches(text) ?? [], inverts: false))
            {
                parts.Add(ByteAlphabet.ToLetters(text[start..end]));
            }
        };
    }

    /// <summary>The matches and the text between them, in order.</summary>
    private static List<(int Start, int End, bool IsMatch)> Cover(string text, List<(int Start, int End)> matches, bool inverts)
    {
        var (cover, done) = (new List<(int Start, int End, bool IsMatch)>(), 0);
        foreach (var (start, end) in matches)
        {
            if (start > done)
            {
                cover.Add((done, start, inverts));
            }

            cover.Add((start, end, !inverts));
            done = end;
        }

        if (done < text.Length)
        {
            cover.Add((done, text.Length, inverts));
        }

        return cover;
    }

    private static IEnumerable<(int Start, int End)> Joined(SplitBehavior behavior, List<(int Start, int End, bool IsMatch)> cover)
    {
        if (behavior is SplitBehavior.Removed or SplitBehavior.Isolated)
        {
            return cover.Where(part => behavior == SplitBehavior.Isolated || !part.IsMatch).Select(part => (part.Start, part.End));
        }

        // A match joins its neighbour unless that is a match as well.
        if (behavior == SplitBehavior.MergedWithNext)
        {
            cover.Reverse();
        }

        var (parts, wasMatch) = (new List<(int Start, int End)>(), false);
        foreach (var (start, end, isMatch) in cover)
        {
            var joins = behavior == SplitBehavior.Contiguous ? isMatch == wasMatch : isMatch && !wasMatch;
            if (joins && parts.Count > 0)
            {
                parts[^1] = (Math.Min(parts[^1].Start, start), Math.Max(parts[^1].End, end));
            }
            else
            {
                parts.Add((start, end));
            }

            wasMatch = isMatch;
        }

        if (behavior == SplitBehavior.MergedWithNext)
        {
            parts.Reverse();
        }

        return parts;
    }
}
