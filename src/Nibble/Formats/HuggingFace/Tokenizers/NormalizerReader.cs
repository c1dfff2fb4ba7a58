using System.Text;

namespace Nibble.Formats.HuggingFace.Tokenizers;

/// <summary>Reads the steps of a <c>normalizer</c>.</summary>
/// <remarks>Follows huggingface/tokenizers, <c>tokenizers/src/normalizers</c>.</remarks>
internal static class NormalizerReader
{
    /// <summary>The types that are read.</summary>
    public const string Types =
        "Sequence, NFC, NFD, NFKC, NFKD, Nmt, Lowercase, Strip, StripAccents, Replace, Prepend, Precompiled, BertNormalizer and ByteLevel";

    /// <summary>Reads a step.</summary>
    /// <exception cref="NibbleException">The step is of another type.</exception>
    /// <exception cref="FormatException">The step is broken.</exception>
    public static Func<string, string> Read(Node step)
    {
        switch (step.Text("type"))
        {
            case "NFC":
                return UnicodeNormalization.Compose;
            case "NFD":
                return UnicodeNormalization.Decompose;
            case "NFKC":
                return UnicodeNormalization.ComposeCompatible;
            case "NFKD":
                return UnicodeNormalization.DecomposeCompatible;
            case "Nmt":
                return Nmt;
            case "Lowercase":
                return BertText.Lower;
            case "StripAccents":
                return UnicodeNormalization.RemoveMarks;
            case "ByteLevel":
                return ByteAlphabet.ToLetters;
            case "Strip":
                var (left, right) = (step.Flag("strip_left") is true, step.Flag("strip_right") is true);
                return text => Strip(text, left, right);
            case "Prepend":
                var prefix = Required(step, "prepend");
                return text => text.Length > 0 ? prefix + text : text;
            case "Replace":
                return Replace(step);
            case "Precompiled":
                return new CharacterMap(Convert.FromBase64String(Required(step, "precompiled_charsmap"))).Apply;
            case "BertNormalizer":
                var asked = Bert(step);
                return text => BertText.Normalize(text, asked);
            case var type:
                throw step.Refuse($"is of type {type}", Types);
        }
    }

    /// <summary>Whether a step never removes the beginning of a text, so that the first character of its result stands for the first of the text.</summary>
    public static bool KeepsBeginning(Node step) => step.Text("type") switch
    {
        "NFC" or "NFD" or "NFKC" or "NFKD" or "Lowercase" or "Precompiled" or "Prepend" => true,
        "Replace" => step["pattern"].Text("String") is { Length: 1 } && step.Text("content") is { Length: > 0 },
        _ => false,
    };

    /// <summary>Reads a BertNormalizer.</summary>
    public static BertNormalization Bert(Node step)
    {
        var lowers = step.Flag("lowercase") is true;
        return new BertNormalization(lowers, step.Flag("strip_accents") ?? lowers)
        {
            Cleans = step.Flag("clean_text") is not false,
            SetsIdeographsApart = step.Flag("handle_chinese_chars") is not false,
        };
    }

    /// <summary>Reads a Replace step, which normalizers and decoders have.</summary>
    public static Func<string, string> Replace(Node step)
    {
        var (find, content) = (Pattern(step), Required(step, "content"));
        if (step["pattern"].Text("String") is { } literal)
        {
            return text => text.Replace(literal, content, StringComparison.Ordinal);
        }

        return text =>
        {
            var (result, done) = (new StringBuilder(text.Length), 0);
            foreach (var (start, end) in find(text))
            {
                result.Append(text, done, start - done).Append(content);
                done = end;
            }

            return result.Append(text, done, text.Length - done).ToString();
        };
    }

    /// <summary>Reads the pattern of a step.</summary>
    /// <returns>A function that finds its matches.</returns>
    public static Func<string, List<(int Start, int End)>> Pattern(Node step)
    {
        var pattern = step["pattern"];
        if (pattern.Text("Regex") is { } regex)
        {
            return TextPattern.Misunderstood(regex) is { } part
                ? throw pattern.Refuse($"contains {part}, which .NET's regular expressions read differently: {regex}", "a pattern without it")
                : Compiled(pattern, regex).Matches;
        }

        return pattern.Text("String") is { } literal
            ? TextRules.Literal(literal.Length > 0 ? literal : throw pattern.Refuse("is empty", "a text"))
            : throw pattern.Refuse("is neither a Regex nor a String", "one of them");
    }

    /// <summary>A text that a step must have.</summary>
    public static string Required(Node step, string name) => step.Text(name) ?? throw new KeyNotFoundException($"{step[name].Place} is not a text");

    private static TextPattern Compiled(Node pattern, string regex)
    {
        try
        {
            return new TextPattern(regex);
        }
        catch (ArgumentException exception)
        {
            throw pattern.Refuse($"is {regex}, of which .NET's regular expressions cannot read a part ({exception.Message})", "a pattern that they read");
        }
    }

    private static string Strip(string text, bool left, bool right) => (left, right) switch
    {
        (true, true) => text.Trim(),
        (true, false) => text.TrimStart(),
        (false, true) => text.TrimEnd(),
        _ => text,
    };

    /// <summary>SentencePiece's rules for machine translation: control characters are removed, and other blanks and format characters become spaces.</summary>
    private static string Nmt(string text)
    {
        var result = new StringBuilder(text.Length);
        foreach (var letter in text)
        {
            if (letter is (>= '\u0001' and <= '\u0008') or '\u000B' or (>= '\u000E' and <= '\u001F') or '\u007F' or '\u008F' or '\u009F')
            {
                continue;
            }

            result.Append(letter is '\t' or '\n' or '\f' or '\r' or '\u1680' or (>= '\u200B' and <= '\u200F') or '\u2028' or '\u2029' or '\u2581'
                or '\uFEFF' or '\uFFFD' ? ' ' : letter);
        }

        return result.ToString();
    }
}
