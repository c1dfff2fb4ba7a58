using Nibble.Formats.HuggingFace;
using Nibble.Torch.Evaluation;

namespace Nibble.Cli.Engines;

/// <summary>Converts a prompt to tokens, and generated tokens to text.</summary>
internal interface ITextCoder
{
    /// <summary>The tokens of a prompt, after a beginning-of-text token if there is one.</summary>
    int[] Encode(string prompt);

    /// <summary>Whether a token ends the text.</summary>
    bool Ends(int token);

    /// <summary>Takes the next generated token.</summary>
    /// <returns>The text that this token completes.</returns>
    string Append(int token);

    /// <summary>The rest of the text, not returned yet.</summary>
    string Rest();
}

/// <summary>The coder of a checkpoint's tokenizer.</summary>
/// <param name="tokenizer">The tokenizer.</param>
/// <param name="begins">The beginning-of-text token; null for none.</param>
/// <param name="ends">The tokens that end a text.</param>
internal sealed class TokenizerCoder(TextTokenizer tokenizer, int? begins, IReadOnlyList<int> ends) : ITextCoder
{
    private StreamedText text = new(tokenizer, []);

    public int[] Encode(string prompt)
    {
        int[] ids = [.. begins is { } first ? [first] : Array.Empty<int>(), .. tokenizer.Encode(prompt)];
        text = new StreamedText(tokenizer, ids);
        return ids;
    }

    public bool Ends(int token) => ends.Contains(token);

    public string Append(int token) => text.Append(token);

    public string Rest() => text.Rest();
}
