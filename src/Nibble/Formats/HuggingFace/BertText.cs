using System.Globalization;
using System.Text;
using Nibble.Formats.HuggingFace.Tokenizers;

namespace Nibble.Formats.HuggingFace;

/// <summary>
/// Prepares text for WordPiece as BERT's basic tokenizer does (Devlin et al. 2019; huggingface/tokenizers, <c>normalizers/bert.rs</c>).
/// </summary>
/// <remarks>What is a mark or an accent is asked of .NET, whose Unicode is newer than that library's 8.0 of 2015: it knows some more of them.</remarks>
internal static class BertText
{
    /// <summary>A word, or one punctuation mark: every non-alphanumeric ASCII character and Unicode's class P.</summary>
    public const string Words = @"[\p{P}$+<=>^`|~]|[^\s\p{P}$+<=>^`|~]+";

    /// <summary>Drops control characters, turns every blank into a space, sets ideographs apart, drops accents and lowers case, as far as asked.</summary>
    public static string Normalize(string text, BertNormalization asked)
    {
        var normal = new StringBuilder(text.Length);
        foreach (var rune in text.EnumerateRunes())
        {
            if (asked.Cleans && IsDropped(rune))
            {
                continue;
            }

            if (asked.Cleans && Rune.IsWhiteSpace(rune))
            {
                normal.Append(' ');
            }
            else if (asked.SetsIdeographsApart && IsIdeograph(rune.Value))
            {
                normal.Append(' ').Append(rune).Append(' ');
            }
            else
            {
                normal.Append(rune);
            }
        }

        var prepared = normal.ToString();
        if (asked.StripsAccents)
        {
            normal.Clear();
            foreach (var rune in UnicodeNormalization.Decompose(prepared).EnumerateRunes()
                .Where(rune => Rune.GetUnicodeCategory(rune) != UnicodeCategory.NonSpacingMark))
            {
                normal.Append(rune);
            }

            prepared = normal.ToString();
        }

        // The one letter whose lower case is two characters, wherever it stands.
        return asked.LowersCase ? prepared.Replace("\u0130", "i\u0307", StringComparison.Ordinal).ToLowerInvariant() : prepared;
    }

    private static bool IsDropped(Rune rune) => rune.Value is 0 or 0xFFFD || (rune.Value is not ('\t' or '\n' or '\r')
        && Rune.GetUnicodeCategory(rune) is UnicodeCategory.Control or UnicodeCategory.Format or UnicodeCategory.PrivateUse);

    // The last extension but one begins at U+2B820 in Unicode, and 0x100 later in the library that tokenizers are trained with.
    private static bool IsIdeograph(int value) => value is (>= 0x4E00 and <= 0x9FFF) or (>= 0x3400 and <= 0x4DBF) or (>= 0x20000 and <= 0x2A6DF)
        or (>= 0x2A700 and <= 0x2B73F) or (>= 0x2B740 and <= 0x2B81F) or (>= 0x2B920 and <= 0x2CEAF) or (>= 0xF900 and <= 0xFAFF)
            or (>= 0x2F800 and <= 0x2FA1F);
}
