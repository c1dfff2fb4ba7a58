using System.Text;

namespace Nibble.Formats.HuggingFace.Tokenizers;

/// <summary>Reads the steps of a <c>decoder</c>, which turn tokens into text.</summary>
/// <remarks>Follows huggingface/tokenizers, <c>tokenizers/src/decoders</c>.</remarks>
internal static class DecoderReader
{
    /// <summary>The types that are read.</summary>
    public const string Types = "Sequence, ByteLevel, ByteFallback, Fuse, Strip, Replace, Metaspace, WordPiece and BPEDecoder";

    // What WordPiece moves together, in this order.
    private static readonly (string Apart, string Together)[] Spacings =
    [
        (" .", "."), (" ?", "?"), (" !", "!"), (" ,", ","), (" ' ", "'"), (" n't", "n't"), (" 'm", "'m"), (" do not", " don't"), (" 's", "'s"),
        (" 've", "'ve"), (" 're", "'re"),
    ];

    /// <summary>Reads a step.</summary>
    /// <exception cref="NibbleException">The step is of another type.</exception>
    public static Func<List<string>, List<string>> Read(Node step)
    {
        switch (step.Text("type"))
        {
            case "ByteLevel":
                return tokens => [Encoding.UTF8.GetString([.. tokens.SelectMany(ByteAlphabet.ToBytes)])];
            case "ByteFallback":
                return Bytes;
            case "Fuse":
                return tokens => [string.Concat(tokens)];
            case "Replace":
                var replace = NormalizerReader.Replace(step);
                return tokens => [.. tokens.Select(replace)];
            case "Strip":
                var (content, start, stop) = (PreTokenizerReader.Character(step, "content"), Count(step, "start"), Count(step, "stop"));
                return tokens => [.. tokens.Select(token => Strip(token, content, start, stop))];
            case "Metaspace":
                var (mark, puts) = (PreTokenizerReader.Character(step, "replacement"), PreTokenizerReader.Before(step) != BlankBefore.Never);
                return tokens => [.. tokens.Select((token, i) => token.Replace(mark, i == 0 && puts ? string.Empty : " ", StringComparison.Ordinal))];
            case "WordPiece":
                var (prefix, cleans) = (NormalizerReader.Required(step, "prefix"), step.Flag("cleanup") is true);
                return tokens => [.. tokens.Select((token, i) => WordPiece(token, i, prefix, cleans))];
            case "BPEDecoder":
                var suffix = NormalizerReader.Required(step, "suffix");
                return tokens => [.. tokens.Select((token, i) => suffix.Length == 0 ? token
                    : token.Replace(suffix, i == tokens.Count - 1 ? string.Empty : " ", StringComparison.Ordinal))];
            case var type:
                throw step.Refuse($"is of type {type}", Types);
        }
    }

    private static int Count(Node step, string name) => step[name].Value.GetInt32() is >= 0 and var count ? count
        : throw step[name].Refuse("is negative", "a count");

    private static string WordPiece(string token, int index, string prefix, bool cleans)
    {
        var text = index == 0 ? token : token.StartsWith(prefix, StringComparison.Ordinal) ? token[prefix.Length..] : ' ' + token;
        return cleans ? Spacings.Aggregate(text, (text, spacing) => text.Replace(spacing.Apart, spacing.Together, StringComparison.Ordinal)) : text;
    }

    private static string Strip(string token, string content, int start, int stop)
    {
        var (from, to) = (0, token.Length);
        for (var i = 0; i < start && token.AsSpan(from).StartsWith(content); i++)
        {
            from += content.Length;
        }

        for (var i = 0; i < stop && to > from && token.AsSpan(from, to - from).EndsWith(content); i++)
        {
            to -= content.Length;
        }

        return token[from..to];
    }

    /// <summary>Joins the tokens of bytes. Each byte of a run that is no text becomes U+FFFD.</summary>
    private static List<string> Bytes(List<string> tokens)
    {
        var (texts, bytes) = (new List<string>(tokens.Count), new List<byte>());
        foreach (var token in tokens)
        {
            if (ByteToken.TryParse(token, out var value))
            {
                bytes.Add(value);
                continue;
            }

            Flush();
            texts.Add(token);
        }

        Flush();
        return texts;

        void Flush()
        {
            var text = Encoding.UTF8.GetString([.. bytes]);
            if (bytes.Count > 0)
            {
                texts.Add(System.Text.Unicode.Utf8.IsValid([.. bytes]) ? text : new string('\uFFFD', bytes.Count));
            }

            bytes.Clear();
        }
    }
}
