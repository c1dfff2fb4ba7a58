using System.Globalization;
using System.Text;
using Nibble.Formats.HuggingFace.Tokenizers;

namespace Nibble.Formats.HuggingFace;

/// <summary>
/// Prepares text for WordPiece in the same way as BERT's basic tokenizer (Devlin et al. 2019; huggingface/tokenizers, <c>normalizers/bert.rs</c>).
/// </summary>
/// <remarks>.NET decides what counts as a mark or an accent. Its Unicode version is newer than that library's 8.0 of 2015 and has more of them.</remarks>
internal static class BertText
{
    /// <summary>Removes control characters, replaces whitespace with spaces, separates ideographs, strips accents and lowers case, as configured.</summary>
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

        return asked.LowersCase ? Lower(prepared) : prepared;
    }

    /// <summary>Converts letters to lower case.</summary>
    // The only letter whose lower case is always two characters.
    public static string Lower(string text) => text.Replace("\u0130", "i\u0307", StringComparison.Ordinal).ToLowerInvariant();

    private static bool IsDropped(Rune rune) => rune.Value is 0 or 0xFFFD || (rune.Value is not ('\t' or '\n' or '\r')
        && Rune.GetUnicodeCategory(rune) is UnicodeCategory.Control or UnicodeCategory.Format or UnicodeCategory.PrivateUse);

    // The second-to-last extension begins at U+2B820 in Unicode, but 0x100 later in the library that tokenizers are trained with.
    private static bool IsIdeograph(int value) => value is (>= 0x4E00 and <= 0x9FFF) or (>= 0x3400 and <= 0x4DBF) or (>= 0x20000 and <= 0x2A6DF)
        or (>= 0x2A700 and <= 0x2B73F) or (>= 0x2B740 and <= 0x2B81F) or (>= 0x2B920 and <= 0x2CEAF) or (>= 0xF900 and <= 0xFAFF)
            or (>= 0x2F800 and <= 0x2FA1F);
}
