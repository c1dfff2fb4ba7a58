using System.Text;
using System.Text.RegularExpressions;

namespace Nibble.Formats.HuggingFace.Tokenizers;

/// <summary>A regular expression of a tokenizer's file.</summary>
/// <remarks>
/// .NET's regular expressions work on UTF-16 units, those of tokenizers on characters. A character of two units is therefore matched through a stand-in: a
/// single unit of the same category. Patterns depend only on the category of such characters.
/// </remarks>
internal sealed class TextPattern
{
    // Patterns come from files, so a pattern that backtracks endlessly must not hang the program.
    private static readonly TimeSpan MatchTimeout = TimeSpan.FromSeconds(10);

    // In the order of UnicodeCategory. No stand-in lies in a range that tokenizer patterns name. Categories without two-unit characters have U+FFFF.
    private const string StandIns = "\u0500\u0501\u01C5\u02B0\u01BB\u0483\u0903\u0488\u0660\u16EE\u00B2"
        + "\uFFFF\uFFFF\uFFFF\uFFFF\u00AD\uFFFD\uE000\u203F\u058A\u0F3A\u0F3B\u00AB\u00BB\u00BF\u00B1\u00A2\u00A8\u00A9\u0378";

    private readonly Regex regex;

    /// <param name="pattern">The expression, in the tokenizers' dialect (Oniguruma for Ruby).</param>
    /// <exception cref="ArgumentException">.NET cannot parse the pattern.</exception>
    // In that dialect, $ matches the end of a line.
    public TextPattern(string pattern) =>
        regex = new Regex(pattern, RegexOptions.CultureInvariant | RegexOptions.Multiline | RegexOptions.Compiled, MatchTimeout);

    /// <summary>The part of a pattern that has another meaning in .NET than in the tokenizers' dialect; null if none is known.</summary>
    public static string? Misunderstood(string pattern)
    {
        if (pattern.Any(char.IsSurrogate))
        {
            return "a character beyond U+FFFF";
        }

        var inside = false;
        for (var i = 0; i < pattern.Length; i++)
        {
            switch (pattern[i])
            {
                case '\\' when i + 1 < pattern.Length && pattern[i + 1] is 'w' or 'W' or 'b' or 'B':
                    return pattern.Substring(i, 2);
                case '\\':
                    i++;
                    break;
                case '[' when inside:
                    return pattern.AsSpan(i).StartsWith("[:") ? "[:" : "a class within a class ('[' within brackets)";
                case '[':
                    inside = true;

                    // A bracket in the first place stands for itself.
                    i += pattern.AsSpan(i).StartsWith("[^]") ? 2 : pattern.AsSpan(i).StartsWith("[]") ? 1 : 0;
                    break;
                case ']':
                    inside = false;
                    break;
                case '&' when inside && pattern.AsSpan(i).StartsWith("&&"):
                    return "&&";
                case '(' when !inside && pattern.AsSpan(i).StartsWith("(?")
                    && pattern.AsSpan(i + 2) is var options && options[..(options.IndexOfAnyExcept("imxs-") is >= 0 and var end ? end : 0)].Contains('m'):
                    return "(?m";
            }
        }

        return null;
    }

    /// <summary>Finds all matches, from left to right.</summary>
    /// <exception cref="NibbleException">The pattern takes too long.</exception>
    public List<(int Start, int End)> Matches(string text)
    {
        var (shadow, places) = Shadow(text);
        var (matches, done) = (new List<(int Start, int End)>(), -1);
        try
        {
            foreach (var match in regex.EnumerateMatches(shadow))
            {
                // Unlike .NET, the tokenizers' library finds no empty match directly after a match.
                var end = match.Index + match.Length;
                if (match.Length > 0 || end != done)
                {
                    matches.Add((Place(match.Index), Place(end)));
                }

                done = end;
            }
        }
        catch (RegexMatchTimeoutException exception)
        {
            throw new NibbleException($"the tokenizer's pattern {regex} takes more than {MatchTimeout.TotalSeconds:F0} s on text of "
                + $"{text.Length:N0} characters", exception);
        }

        return matches;

        int Place(int index) => places is null ? index : places[index];
    }

    /// <summary>The text with one unit per character, and the position of each character in the text; null if they are equal.</summary>
    private static (string Shadow, int[]? Places) Shadow(string text)
    {
        if (!text.AsSpan().ContainsAnyInRange('\uD800', '\uDFFF'))
        {
            return (text, null);
        }

        var shadow = new StringBuilder(text.Length);
        var places = new List<int>(text.Length + 1);
        for (var i = 0; i < text.Length;)
        {
            Rune.DecodeFromUtf16(text.AsSpan(i), out var rune, out var length);
            places.Add(i);
            shadow.Append(rune.IsBmp ? (char)rune.Value : StandIns[(int)Rune.GetUnicodeCategory(rune)]);
            i += length;
        }

        places.Add(text.Length);
        return (shadow.ToString(), [.. places]);
    }
}
