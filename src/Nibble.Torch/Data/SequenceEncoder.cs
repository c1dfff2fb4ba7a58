using Nibble.Formats.HuggingFace;
using Nibble.Torch.Models;

namespace Nibble.Torch.Data;

/// <summary>Makes sequences of texts: <c>[CLS] text [SEP]</c> or <c>[CLS] text [SEP] text [SEP]</c> as BERT has them, <c>&lt;s&gt; text &lt;/s&gt;</c> or
/// <c>&lt;s&gt; text &lt;/s&gt;&lt;/s&gt; text &lt;/s&gt;</c> as RoBERTa has them.</summary>
/// <param name="tokenizer">A tokenizer that has marks for beginning and end.</param>
/// <param name="maxLength">Longer sequences are cut to this many tokens, their marks included, the longer text of a pair first.</param>
internal sealed class SequenceEncoder(TextTokenizer tokenizer, int maxLength)
{
    private readonly int start = (tokenizer.StartId ?? tokenizer.BosId)!.Value;
    private readonly int end = (tokenizer.EndId ?? tokenizer.EosId)!.Value;

    /// <summary>Sequences that were cut.</summary>
    public int Cut { get; private set; }

    private bool DoublesEnd => tokenizer.Encode("</s>") is [var id] && id == end;

    /// <summary>Encodes a text, or a pair.</summary>
    /// <param name="text">The text, or the first of a pair.</param>
    /// <param name="second">The second; null for none.</param>
    /// <exception cref="NibbleException">A pair is to be cut to so few tokens that nothing of one of the texts would be left.</exception>
    public TokenSequence Encode(string text, string? second = null)
    {
        var first = tokenizer.Encode(text);
        var other = second is null ? [] : tokenizer.Encode(second);
        var marks = second is null ? 2 : DoublesEnd ? 4 : 3;
        var room = maxLength - marks;
        if (second is not null && room < 2)
        {
            throw new NibbleException(
                $"texts are cut to {maxLength} tokens, of which the marks of a pair take {marks}; expected at least {marks + 2}, so that something of both "
                    + $"texts is left");
        }

        if (first.Length + other.Length > room)
        {
            Cut++;
            var (a, b) = (first.Length, other.Length);
            while (a + b > room)
            {
                (a, b) = a >= b ? (a - 1, b) : (a, b - 1);
            }

            (first, other) = (first[..a], other[..b]);
        }

        return second is null
            ? new TokenSequence([start, .. first, end])
            : marks == 4
            ? new TokenSequence([start, .. first, end, end, .. other, end], first.Length + 2)
            : new TokenSequence([start, .. first, end, .. other, end], first.Length + 2);
    }
}
