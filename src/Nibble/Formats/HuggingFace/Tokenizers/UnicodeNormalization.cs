using System.Globalization;
using System.Text;

namespace Nibble.Formats.HuggingFace.Tokenizers;

/// <summary>Normalization of text (Unicode Standard Annex 15), by the characters of Unicode 9.0.</summary>
/// <remarks>
/// <see cref="string.Normalize()"/> does not change text in globalization-invariant mode, which the program uses. Ids must not depend on that mode or on
/// the version of a system library.
/// </remarks>
internal static class UnicodeNormalization
{
    // The Unicode Standard, chapter 3.12: syllables are composed arithmetically.
    private const int Leads = 0x1100, Vowels = 0x1161, Trails = 0x11A7, Syllables = 0xAC00;
    private const int VowelCount = 21, TrailCount = 28, LeadCount = 19;
    private const int SyllableCount = LeadCount * VowelCount * TrailCount;

    // Below this, every character is composed and none combines with the previous one.
    private const char FirstOfInterest = '\u0300';

    private static readonly Lazy<Tables> Data = new(Tables.Read);

    /// <summary>Normalization form C: composed characters.</summary>
    public static string Compose(string text) =>
        text.AsSpan().ContainsAnyExceptInRange('\0', (char)(FirstOfInterest - 1)) ? ToText(Composed(Decomposed(text, compatible: false))) : text;

    /// <summary>Normalization form KC: composed characters, with presentation forms replaced by what they stand for.</summary>
    public static string ComposeCompatible(string text) =>
        text.AsSpan().ContainsAnyExceptInRange('\0', '\u009F') ? ToText(Composed(Decomposed(text, compatible: true))) : text;

    /// <summary>Normalization form D: base characters followed by their marks.</summary>
    public static string Decompose(string text) =>
        text.AsSpan().ContainsAnyExceptInRange('\0', '\u00BF') ? ToText(Decomposed(text, compatible: false)) : text;

    /// <summary>Normalization form KD: base characters followed by their marks, with presentation forms replaced by what they stand for.</summary>
    public static string DecomposeCompatible(string text) =>
        text.AsSpan().ContainsAnyExceptInRange('\0', '\u009F') ? ToText(Decomposed(text, compatible: true)) : text;

    /// <summary>Removes all marks.</summary>
    public static string RemoveMarks(string text)
    {
        if (!text.AsSpan().ContainsAnyExceptInRange('\0', (char)(FirstOfInterest - 1)))
        {
            return text;
        }

        var rest = new StringBuilder(text.Length);
        foreach (var rune in text.EnumerateRunes().Where(rune => !Data.Value.Marks.Contains(rune.Value)))
        {
            rest.Append(rune);
        }

        return rest.ToString();
    }

    /// <summary>Whether a character beyond ASCII was punctuation in Unicode 8.0.</summary>
    public static bool IsPunctuation(int character) => Data.Value.Punctuation.Contains(character);

    private static List<int> Composed(List<int> characters)
    {
        var composed = new List<int>(characters.Count);
        var (starter, last) = (-1, -1);
        foreach (var character in characters)
        {
            var combining = Class(character);

            // A character between a starter and a mark blocks composition, unless its class is lower.
            if (starter >= 0 && last < combining && Pair(composed[starter], character) is { } pair)
            {
                composed[starter] = pair;
                continue;
            }

            (starter, last) = combining == 0 ? (composed.Count, -1) : (starter, combining);
            composed.Add(character);
        }

        return composed;
    }

    private static List<int> Decomposed(string text, bool compatible)
    {
        var characters = new List<int>(text.Length + 16);
        foreach (var rune in text.EnumerateRunes())
        {
            Append(rune.Value, compatible, characters);
        }

        // Marks after a character are sorted by class. Marks of one class keep their order.
        for (var start = 0; start < characters.Count; start++)
        {
            var end = start;
            while (end < characters.Count && Class(characters[end]) > 0)
            {
                end++;
            }

            if (end - start > 1)
            {
                int[] marks = [.. characters[start..end].OrderBy(Class)];
                for (var i = 0; i < marks.Length; i++)
                {
                    characters[start + i] = marks[i];
                }
            }

            start = end;
        }

        return characters;
    }

    private static void Append(int character, bool compatible, List<int> characters)
    {
        if (character - Syllables is >= 0 and < SyllableCount and var syllable)
        {
            characters.Add(Leads + (syllable / (VowelCount * TrailCount)));
            characters.Add(Vowels + (syllable / TrailCount % VowelCount));
            if (syllable % TrailCount is > 0 and var trail)
            {
                characters.Add(Trails + trail);
            }
        }
        else if (character >= 0xA0 && (Data.Value.Parts.TryGetValue(character, out var parts)
            || (compatible && Data.Value.CompatibleParts.TryGetValue(character, out parts))))
        {
            foreach (var part in parts)
            {
                Append(part, compatible, characters);
            }
        }
        else
        {
            characters.Add(character);
        }
    }

    private static int? Pair(int first, int second)
    {
        if (first - Leads is >= 0 and < LeadCount and var lead && second - Vowels is >= 0 and < VowelCount and var vowel)
        {
            return Syllables + (((lead * VowelCount) + vowel) * TrailCount);
        }

        if (first - Syllables is >= 0 and < SyllableCount and var syllable && syllable % TrailCount == 0
            && second - Trails is > 0 and < TrailCount and var trail)
        {
            return first + trail;
        }

        return Data.Value.Pairs.TryGetValue((first, second), out var composed) ? composed : null;
    }

    private static int Class(int character) => character < FirstOfInterest ? 0 : Data.Value.Classes.GetValueOrDefault(character);

    private static string ToText(List<int> characters)
    {
        var text = new StringBuilder(characters.Count);
        foreach (var character in characters)
        {
            text.Append(new Rune(character));
        }

        return text.ToString();
    }

    /// <summary>The contents of <c>unicode-normalization.txt</c>.</summary>
    private sealed record Tables(
        Dictionary<int, int[]> Parts,
        Dictionary<int, int[]> CompatibleParts,
        Dictionary<(int First, int Second), int> Pairs,
        Dictionary<int, byte> Classes,
        HashSet<int> Marks,
        HashSet<int> Punctuation)
    {
        public static Tables Read()
        {
            var tables = new Tables([], [], [], [], [], []);
            using var reader = new StreamReader(typeof(UnicodeNormalization).Assembly.GetManifestResourceStream("unicode-normalization.txt")!);
            while (reader.ReadLine() is { } line)
            {
                if (line.StartsWith('#'))
                {
                    continue;
                }

                var words = line.Split(' ');
                if (words[0] == "p")
                {
                    tables.Punctuation.UnionWith(Enumerable.Range(Number(words[1]), Number(words[2]) - Number(words[1]) + 1));
                }
                else if (words[0] == "~")
                {
                    for (var character = Number(words[1]); character <= Number(words[2]); character++)
                    {
                        tables.Classes.Add(character, byte.Parse(words[3], CultureInfo.InvariantCulture));
                    }
                }
                else if (words[0] == "!")
                {
                    tables.Marks.UnionWith(Enumerable.Range(Number(words[1]), Number(words[2]) - Number(words[1]) + 1));
                }
                else if (words[0] == "k")
                {
                    tables.CompatibleParts.Add(Number(words[1]), Array.ConvertAll(words[2..], Number));
                }
                else if (words[0] == "=")
                {
                    tables.Parts.Add(Number(words[1]), Array.ConvertAll(words[2..], Number));
                }
                else
                {
                    var (first, second) = (Number(words[1]), Number(words[2]));
                    tables.Parts.Add(Number(words[0]), [first, second]);
                    tables.Pairs.Add((first, second), Number(words[0]));
                }
            }

            return tables;
        }

        private static int Number(string word) => int.Parse(word, NumberStyles.HexNumber, CultureInfo.InvariantCulture);
    }
}
