namespace Nibble.Formats.HuggingFace;

/// <summary>A text, or a pair of texts, as an encoder reads it.</summary>
/// <param name="Ids">The ids, including the special tokens for start and end.</param>
/// <param name="FirstLength">The number of tokens that belong to the first text of a pair.</param>
/// <param name="IsCut">Whether the text was longer than the maximum and was cut.</param>
internal readonly record struct EncodedText(int[] Ids, int FirstLength, bool IsCut);

/// <summary>Turns texts into sequences. For BERT: <c>[CLS] text [SEP]</c> or <c>[CLS] text [SEP] text [SEP]</c>. For RoBERTa:
/// <c>&lt;s&gt; text &lt;/s&gt;</c> or <c>&lt;s&gt; text &lt;/s&gt;&lt;/s&gt; text &lt;/s&gt;</c>.</summary>
/// <remarks>Safe for concurrent calls.</remarks>
/// <param name="tokenizer">A tokenizer with start and end tokens.</param>
/// <param name="maxLength">The maximum number of tokens, special tokens included. Longer sequences are cut, starting with the longer text of a pair.</param>
internal sealed class SequenceEncoder(TextTokenizer tokenizer, int maxLength)
{
    private readonly int start = (tokenizer.StartId ?? tokenizer.BosId)!.Value;
    private readonly int end = (tokenizer.EndId ?? tokenizer.EosId)!.Value;

    private bool DoublesEnd => tokenizer.Encode("</s>") is [var id] && id == end;

    /// <summary>Encodes a text or a pair of texts.</summary>
    /// <param name="text">The text, or the first of a pair.</param>
    /// <param name="second">The second text of a pair. Null for a single text.</param>
    /// <exception cref="NibbleException">A pair would be cut so short that nothing of one of its texts would be left.</exception>
    public EncodedText Encode(string text, string? second = null)
    {
        var first = tokenizer.Encode(text);
        var other = second is null ? [] : tokenizer.Encode(second);
        var marks = second is null ? 2 : DoublesEnd ? 4 : 3;
        var room = maxLength - marks;
        if (second is not null && room < 2)
        {
            throw new NibbleException(
                $"texts are cut to {maxLength} tokens, and the special tokens of a pair take {marks}; expected at least {marks + 2}, so that part of both "
                    + $"texts remains");
        }

        var isCut = first.Length + other.Length > room;
        if (isCut)
        {
            var (a, b) = (first.Length, other.Length);
            while (a + b > room)
            {
                (a, b) = a >= b ? (a - 1, b) : (a, b - 1);
            }

            (first, other) = (first[..a], other[..b]);
        }

        return second is null ? new EncodedText([start, .. first, end], first.Length + 2, isCut)
            : marks == 4 ? new EncodedText([start, .. first, end, end, .. other, end], first.Length + 2, isCut)
            : new EncodedText([start, .. first, end, .. other, end], first.Length + 2, isCut);
    }
}
