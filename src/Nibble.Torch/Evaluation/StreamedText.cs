using Nibble.Formats.HuggingFace;

namespace Nibble.Torch.Evaluation;

/// <summary>The text of tokens that arrive one by one. Text is returned as soon as no later token can change it.</summary>
/// <remarks>
/// A token's text can depend on the previous token, for example on whether a space separates them, and one character can take several tokens. Therefore each
/// token is decoded together with some earlier ones, and text that ends inside a character is held back until the character is complete.
/// </remarks>
/// <param name="tokenizer">The tokenizer.</param>
/// <param name="prompt">The tokens before the first one.</param>
internal sealed class StreamedText(TextTokenizer tokenizer, IReadOnlyList<int> prompt)
{
    private const char Unfinished = '\uFFFD';

    // SentencePiece also removes the first space after byte tokens, so one earlier token is not enough.
    private const int Context = 64;

    private readonly List<int> pending = [];
    private int[] told = [.. prompt];

    /// <summary>Adds a token.</summary>
    /// <returns>The text that is now final and was not before. It is often empty.</returns>
    public string Append(int token)
    {
        pending.Add(token);
        var text = Pending();
        return text.Length == 0 || text[^1] == Unfinished ? string.Empty : Tell(text);
    }

    /// <summary>The text that is still held back: bytes of an incomplete character.</summary>
    public string Rest() => pending.Count == 0 ? string.Empty : Tell(Pending());

    private string Pending()
    {
        var before = tokenizer.Decode(told);
        var whole = tokenizer.Decode([.. told, .. pending]);
        return whole[Math.Min(whole.Length, before.Length)..];
    }

    private string Tell(string text)
    {
        int[] all = [.. told, .. pending];
        told = all[Math.Max(0, all.Length - Context)..];
        pending.Clear();
        return text;
    }
}
