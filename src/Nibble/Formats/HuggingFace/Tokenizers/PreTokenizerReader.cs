using System.Text;

namespace Nibble.Formats.HuggingFace.Tokenizers;

/// <summary>Reads the steps of a <c>pre_tokenizer</c>.</summary>
internal static class PreTokenizerReader
{
    /// <summary>The types that are read.</summary>
    public const string Types =
        "Sequence, ByteLevel, Split, Digits, Metaspace, Whitespace, WhitespaceSplit, Punctuation, BertPreTokenizer and CharDelimiterSplit";

    /// <summary>Reads a step.</summary>
    /// <param name="step">The step.</param>
    /// <param name="knowsFirst">Whether the step can tell the text that begins the whole text.</param>
    /// <exception cref="NibbleException">The step is of another type.</exception>
    public static TextRule Read(Node step, bool knowsFirst)
    {
        switch (step.Text("type"))
        {
            case "ByteLevel":
                // Old files lack the key. They always apply the pattern.
                return TextRules.ByteLevel(step.Flag("add_prefix_space") is true, step.Flag("use_regex") is not false);
            case "Split":
                return TextRules.Split(NormalizerReader.Pattern(step), Behavior(step, null), step.Flag("invert") is true);
            case "Digits":
                return TextRules.Split(TextRules.Characters(TextRules.IsNumber),
                    step.Flag("individual_digits") is true ? SplitBehavior.Isolated : SplitBehavior.Contiguous);
            case "Punctuation":
                return TextRules.Split(TextRules.Characters(TextRules.IsPunctuation), Behavior(step, SplitBehavior.Isolated));
            case "Whitespace":
                return TextRules.Words;
            case "WhitespaceSplit":
                return TextRules.Split(TextRules.Characters(Rune.IsWhiteSpace), SplitBehavior.Removed);
            case "BertPreTokenizer":
                return TextRules.BertWords;
            case "CharDelimiterSplit":
                return TextRules.Split(TextRules.Literal(Character(step, "delimiter")), SplitBehavior.Removed);
            case "Metaspace":
                return TextRules.Metaspace(Character(step, "replacement"), Before(step, knowsFirst), step.Flag("split") is not false);
            case var type:
                throw step.Refuse($"is of type {type}", Types);
        }
    }

    /// <summary>A text of one character.</summary>
    public static string Character(Node step, string name) => NormalizerReader.Required(step, name) is var text && text.EnumerateRunes().Count() == 1
        ? text : throw step[name].Refuse($"is '{text}'", "one character");

    /// <summary>Which text Metaspace puts its mark before.</summary>
    public static BlankBefore Before(Node step) => step.Flag("add_prefix_space") is false ? BlankBefore.Never : step.Text("prepend_scheme") switch
    {
        null or "always" => BlankBefore.Always,
        "first" => BlankBefore.First,
        "never" => BlankBefore.Never,
        var scheme => throw step["prepend_scheme"].Refuse($"is {scheme}", "always, first or never"),
    };

    private static BlankBefore Before(Node step, bool knowsFirst) => Before(step) is var before && before == BlankBefore.First && !knowsFirst
        ? throw step["prepend_scheme"].Refuse("is first, and steps before it may change what is first", "always, never, or Metaspace as the only step")
        : before;

    private static SplitBehavior Behavior(Node step, SplitBehavior? otherwise) =>
        step.Text("behavior") is not { } name && otherwise is { } known ? known
        : Enum.TryParse<SplitBehavior>(step.Text("behavior"), out var behavior) && Enum.IsDefined(behavior) ? behavior
        : throw step["behavior"].Refuse($"is {step.Text("behavior") ?? "missing"}", string.Join(", ", Enum.GetNames<SplitBehavior>()));
}
