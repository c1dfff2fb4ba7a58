namespace Nibble.Formats.HuggingFace.Tokenizers;

/// <summary>A step that splits text.</summary>
/// <param name="Pattern">The regular expression whose matches become pieces, as written in the tokenizer's file.</param>
/// <param name="DropsRest">Whether the text between matches is dropped instead of becoming pieces.</param>
internal sealed record SplitStep(string Pattern, bool DropsRest = false)
{
    /// <summary>What splits text.</summary>
    /// <exception cref="ArgumentException">.NET cannot parse the pattern.</exception>
    public TextRule ToRule() =>
        TextRules.Split(new TextPattern(Pattern).Matches, DropsRest ? SplitBehavior.Removed : SplitBehavior.Isolated, inverts: DropsRest);
}
