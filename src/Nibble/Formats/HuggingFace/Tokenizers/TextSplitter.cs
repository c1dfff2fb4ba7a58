using System.Text;
using System.Text.RegularExpressions;

namespace Nibble.Formats.HuggingFace.Tokenizers;

/// <summary>A step that splits text.</summary>
/// <param name="Pattern">The regular expression whose matches become pieces, as written in the tokenizer's file.</param>
/// <param name="DropsRest">Whether the text between matches is dropped instead of becoming pieces.</param>
internal sealed record SplitStep(string Pattern, bool DropsRest = false);

/// <summary>Splits text into words with a series of regular expressions.</summary>
/// <remarks>
/// .NET's regular expressions work on UTF-16 units, those of tokenizers on characters. A character of two units is therefore matched through a stand-in: a
/// single unit of the same category. Patterns depend only on the category of such characters.
/// </remarks>
internal sealed class TextSplitter
{
    // Patterns come from files, so a pattern that backtracks endlessly must not hang the program.
    private static readonly TimeSpan MatchTimeout = TimeSpan.FromSeconds(10);

    // In the order of UnicodeCategory. No stand-in lies in a range that tokenizer patterns name. Categories without two-unit characters have U+FFFF.
    private const string StandIns = "\u0500\u0501\u01C5\u02B0\u01BB\u0483\u0903\u0488\u0660\u16EE\u00B2"
        + "\uFFFF\uFFFF\uFFFF\uFFFF\u00AD\uFFFD\uE000\u203F\u058A\u0F3A\u0F3B\u00AB\u00BB\u00BF\u00B1\u00A2\u00A8\u00A9\u0378";

    private readonly (Regex Regex, bool DropsRest)[] steps;

    /// <param name="steps">The steps.</param>
    /// <exception cref="ArgumentException">.NET cannot parse a pattern.</exception>
    public TextSplitter(IEnumerable<SplitStep> steps) => this.steps =
    [
        // In the tokenizers' dialect (Oniguruma for Ruby), $ matches the end of a line.
        .. steps.Select(step => (new Regex(step.Pattern, RegexOptions.CultureInvariant | RegexOptions.Multiline | RegexOptions.Compiled, MatchTimeout),
            step.DropsRest)),
    ];

    /// <summary>The part of a pattern that has another meaning in .NET than in the tokenizers' dialect; null if none is known.</summary>
    public static string? Misunderstood(string pattern) =>
        pattern.Any(char.IsSurrogate) ? "a character beyond U+FFFF"
        : ((string[])["&&", "[:", @"\w", @"\W", @"\b", @"\B"]).FirstOrDefault(pattern.Contains);

    /// <summary>Splits text into words.</summary>
    /// <exception cref="NibbleException">A pattern takes too long.</exception>
    public List<string> Split(string text)
    {
        List<string> words = [text];
        foreach (var (regex, dropsRest) in steps)
        {
            var parts = new List<string>();
            foreach (var word in words)
            {
                try
                {
                    Split(word, regex, dropsRest, parts);
                }
                catch (RegexMatchTimeoutException exception)
                {
                    throw new NibbleException($"the tokenizer's pattern {regex} takes more than {MatchTimeout.TotalSeconds:F0} s on text of "
                        + $"{word.Length:N0} characters", exception);
                }
            }

            words = parts;
        }

        return words;
    }

    private static void Split(string text, Regex regex, bool dropsRest, List<string> parts)
    {
        var (shadow, places) = Shadow(text);
        var done = 0;
        foreach (var match in regex.EnumerateMatches(shadow))
        {
            var (start, end) = (Place(match.Index), Place(match.Index + match.Length));
            if (start > done && !dropsRest)
            {
                parts.Add(text[done..start]);
            }

            if (end > start)
            {
                parts.Add(text[start..end]);
            }

            done = Math.Max(done, end);
        }

        if (done < text.Length && !dropsRest)
        {
            parts.Add(text[done..]);
        }

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
