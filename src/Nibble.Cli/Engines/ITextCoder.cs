using Nibble.Formats.HuggingFace;
using Nibble.Torch.Evaluation;

namespace Nibble.Cli.Engines;

/// <summary>Turns a prompt into tokens, and the tokens behind it into text.</summary>
internal interface ITextCoder
{
    /// <summary>The tokens of a prompt, behind the one that begins a text where there is such.</summary>
    int[] Encode(string prompt);

    /// <summary>Whether a token ends the text.</summary>
    bool Ends(int token);

    /// <summary>Takes the next token behind the prompt.</summary>
    /// <returns>The text that is certain now and was not before.</returns>
    string Append(int token);

    /// <summary>The text that is still held back.</summary>
    string Rest();
}

/// <summary>The coder of a checkpoint's tokenizer.</summary>
/// <param name="tokenizer">The tokenizer.</param>
/// <param name="begins">The token that is put before texts; null for none.</param>
/// <param name="ends">The tokens at which texts end.</param>
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
