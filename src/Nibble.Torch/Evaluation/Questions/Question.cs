using System.Text;

namespace Nibble.Torch.Evaluation.Questions;

/// <summary>An answer that a model may give: a text, and what it stands after.</summary>
/// <param name="Context">The text before the answer. It may be empty.</param>
/// <param name="Continuation">The text whose log-likelihood is computed, with the space before it.</param>
/// <param name="Characters">The length of the choice in Unicode characters, at least 1, by which its log-likelihood is divided for <c>acc_norm</c>.</param>
internal sealed record Candidate(string Context, string Continuation, int Characters)
{
    /// <summary>A candidate with the length of a text.</summary>
    public static Candidate Of(string context, string continuation, string choice) => new(context, continuation, choice.EnumerateRunes().Count());
}

/// <summary>A question with its possible answers.</summary>
/// <param name="Place">The file and line, for messages.</param>
/// <param name="Candidates">The possible answers, or the only one of a cloze.</param>
/// <param name="Answer">The index of the correct answer.</param>
internal sealed record Question(string Place, IReadOnlyList<Candidate> Candidates, int Answer)
{
    private readonly string? example;

    /// <summary>The subject. Questions get examples of their own subject. Null if the layout has no subjects.</summary>
    public string? Subject { get; init; }

    /// <summary>The text before the examples. Empty for most layouts.</summary>
    public string Description { get; init; } = string.Empty;

    /// <summary>The description and the examples before each context. Questions share it.</summary>
    public string Prefix { get; init; } = string.Empty;

    /// <summary>The question with its correct answer, as an example for other questions.</summary>
    public string Example
    {
        get => example ?? Candidates[Answer].Context + Candidates[Answer].Continuation;
        init => example = value;
    }

    /// <summary>A number of tokens that no tokenizer exceeds for the longest candidate: one per byte of UTF-8, and some special tokens.</summary>
    public long MostTokens => Encoding.UTF8.GetByteCount(Prefix) + SpecialTokens
        + Candidates.Max(candidate => (long)Encoding.UTF8.GetByteCount(candidate.Context) + Encoding.UTF8.GetByteCount(candidate.Continuation));

    private const int SpecialTokens = 8;
}
