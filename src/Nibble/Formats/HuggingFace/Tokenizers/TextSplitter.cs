namespace Nibble.Formats.HuggingFace.Tokenizers;

/// <summary>A step that splits text.</summary>
/// <param name="Pattern">The regular expression whose matches become pieces, as written in the tokenizer's file.</param>
/// <param name="DropsRest">Whether the text between matches is dropped instead of becoming pieces.</param>
internal sealed record SplitStep(string Pattern, bool DropsRest = false);

/// <summary>Splits text into words with a series of regular expressions.</summary>
internal sealed class TextSplitter
{
    private readonly (TextPattern Pattern, bool DropsRest)[] steps;

    /// <param name="steps">The steps.</param>
    /// <exception cref="ArgumentException">.NET cannot parse a pattern.</exception>
    public TextSplitter(IEnumerable<SplitStep> steps) => this.steps = [.. steps.Select(step => (new TextPattern(step.Pattern), step.DropsRest))];

    /// <summary>Splits text into words.</summary>
    /// <exception cref="NibbleException">A pattern takes too long.</exception>
    public List<string> Split(string text)
    {
        List<string> words = [text];
        foreach (var (pattern, dropsRest) in steps)
        {
            var parts = new List<string>();
            foreach (var word in words)
            {
                Split(word, pattern, dropsRest, parts);
            }

            words = parts;
        }

        return words;
    }

    private static void Split(string text, TextPattern pattern, bool dropsRest, List<string> parts)
    {
        var done = 0;
        foreach (var (start, end) in pattern.Matches(text))
        {
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
    }
}
