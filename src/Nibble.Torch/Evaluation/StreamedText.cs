using Nibble.Formats.HuggingFace;

namespace Nibble.Torch.Evaluation;

/// <summary>The text of tokens that come one by one, handed out as soon as no later token can change it.</summary>
/// <remarks>
/// A token's text can depend on the one before it (whether a space stands between them), and a character can take several tokens. So each
/// token is decoded behind some that were handed out before, and what ends inside a character waits for the rest of it.
/// </remarks>
/// <param name="tokenizer">The tokenizer.</param>
/// <param name="prompt">The tokens before the first.</param>
internal sealed class StreamedText(TextTokenizer tokenizer, IReadOnlyList<int> prompt)
{
    private const char Unfinished = '\uFFFD';

    // SentencePiece takes the first space away behind bytes too, so one token before is not enough.
    private const int Context = 64;

    private readonly List<int> pending = [];
    private int[] told = [.. prompt];

    /// <summary>Takes a token.</summary>
    /// <returns>The text that is certain now and was not before; often empty.</returns>
    public string Append(int token)
    {
        pending.Add(token);
        var text = Pending();
        return text.Length == 0 || text[^1] == Unfinished ? string.Empty : Tell(text);
    }

    /// <summary>What is still held back: bytes that are no whole character.</summary>
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
