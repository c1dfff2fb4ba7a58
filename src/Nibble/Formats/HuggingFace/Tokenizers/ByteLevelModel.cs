using System.Text;

namespace Nibble.Formats.HuggingFace.Tokenizers;

/// <summary>A form that texts are normalized to.</summary>
internal enum NormalizationForm
{
    /// <summary>Characters composed: <see cref="UnicodeNormalization.Compose"/>.</summary>
    C,

    /// <summary>Characters taken apart: <see cref="UnicodeNormalization.Decompose"/>.</summary>
    D,
}

/// <summary>What byte-level BPE is made of.</summary>
/// <param name="Steps">How a text is split into words.</param>
/// <param name="Vocabulary">Ids by token, in the alphabet that stands for bytes.</param>
/// <param name="Merges">Pairs of tokens, the first merged first.</param>
internal sealed record BytePairs(IReadOnlyList<SplitStep> Steps, Dictionary<string, int> Vocabulary, IReadOnlyList<(string Left, string Right)> Merges)
{
    /// <summary>What a text is normalized to before it is split; null for nothing.</summary>
    public NormalizationForm? Normalization { get; init; }

    /// <summary>Whether a word that is a token becomes it, whatever merges would make of it.</summary>
    public bool IgnoresMerges { get; init; }
}

/// <summary>Byte-level BPE as GPT-2 has it: bytes are spelled by 256 characters, and merged inside of words.</summary>
internal sealed class ByteLevelModel : TokenModel
{
    private readonly TextSplitter splitter;
    private readonly BytePairMerger merger;
    private readonly int[] idsOfBytes;
    private readonly byte[]?[] bytesOfIds;

    /// <param name="pairs">What it is made of.</param>
    /// <exception cref="ArgumentException">A pattern is none of .NET's.</exception>
    /// <exception cref="FormatException">A merge is of tokens that the vocabulary lacks.</exception>
    public ByteLevelModel(BytePairs pairs)
    {
        Pairs = pairs;
        splitter = new TextSplitter(pairs.Steps);
        merger = new BytePairMerger(pairs.Merges.Count);
        for (var rank = 0; rank < pairs.Merges.Count; rank++)
        {
            var (left, right) = pairs.Merges[rank];
            merger.Add(Id(left), Id(right), rank, Id(left + right));
        }

        idsOfBytes = [.. ByteAlphabet.Letters.Select(letter => pairs.Vocabulary.GetValueOrDefault(letter.ToString(), -1))];
        Size = pairs.Vocabulary.Values.Max() + 1;
        bytesOfIds = new byte[]?[Size];
        foreach (var (token, id) in pairs.Vocabulary)
        {
            bytesOfIds[id] = ByteAlphabet.ToBytes(token);
        }

        int Id(string token) => pairs.Vocabulary.TryGetValue(token, out var id) ? id
            : throw new FormatException($"a merge makes or takes the token '{token}', which the vocabulary lacks");
    }

    /// <summary>What it is made of.</summary>
    public BytePairs Pairs { get; }

    public override int Size { get; }

    public override int? IdOf(string text) => Pairs.Vocabulary.TryGetValue(text, out var id) ? id : null;

    public override string Normalize(string text, bool first) => Pairs.Normalization switch
    {
        NormalizationForm.C => UnicodeNormalization.Compose(text),
        NormalizationForm.D => UnicodeNormalization.Decompose(text),
        _ => text,
    };

    public override string NormalizeToken(string text) => Normalize(text, first: false);

    public override void Encode(string text, List<int> ids)
    {
        // Few words make up most of a text.
        var known = new Dictionary<string, int[]>(StringComparer.Ordinal);
        foreach (var word in splitter.Split(text))
        {
            if (!known.TryGetValue(word, out var tokens))
            {
                known.Add(word, tokens = EncodeWord(word));
            }

            ids.AddRange(tokens);
        }
    }

    private int[] EncodeWord(string word)
    {
        if (Pairs.IgnoresMerges && Pairs.Vocabulary.TryGetValue(ByteAlphabet.ToLetters(word), out var whole))
        {
            return [whole];
        }

        var tokens = new List<int>();
        foreach (var value in Encoding.UTF8.GetBytes(word))
        {
            tokens.Add(idsOfBytes[value] >= 0 ? idsOfBytes[value]
                : throw new NibbleException($"the tokenizer has no token for the byte 0x{value:X2} of '{word}'; take what is written with it out of the text"));
        }

        merger.Merge(tokens);
        return [.. tokens];
    }

    public override string Decode(IReadOnlyList<int> ids)
    {
        var bytes = new List<byte>(ids.Count * 4);
        foreach (var id in ids)
        {
            bytes.AddRange(bytesOfIds[id] ?? []);
        }

        return Encoding.UTF8.GetString(bytes.ToArray());
    }

    /// <summary>The first token that merges do not make out of its own bytes, so that it shows whether merges are ignored; null where there is none.</summary>
    public string? UnreachableByMerges()
    {
        var word = new List<int>();
        foreach (var (token, id) in Pairs.Vocabulary)
        {
            word.Clear();
            word.AddRange(bytesOfIds[id]!.Select(value => idsOfBytes[value]));
            merger.Merge(word);

            // Only what is one word is looked up as a whole.
            if ((word.Count != 1 || word[0] != id) && Encoding.UTF8.GetString(bytesOfIds[id]!) is var text && !text.Contains('\uFFFD')
                && splitter.Split(text).Count == 1)
            {
                return token;
            }
        }

        return null;
    }
}

/// <summary>The characters that stand for bytes in the tokens of byte-level BPE (openai/gpt-2, <c>encoder.py</c>).</summary>
internal static class ByteAlphabet
{
    private static readonly Dictionary<char, byte> Bytes;

    static ByteAlphabet()
    {
        // Printable bytes stand for themselves, the others follow from U+0100 on.
        var next = (char)0x100;
        Letters = [.. Enumerable.Range(0, 256).Select(value => value is (>= '!' and <= '~') or (>= 0xA1 and <= 0xAC) or >= 0xAE ? (char)value : next++)];
        Bytes = Enumerable.Range(0, 256).ToDictionary(value => Letters[value], value => (byte)value);
    }

    /// <summary>The character of each byte.</summary>
    public static IReadOnlyList<char> Letters { get; }

    /// <summary>The bytes that a token stands for; those of its own text where it is not written in the alphabet.</summary>
    public static byte[] ToBytes(string token) => token.All(Bytes.ContainsKey) ? [.. token.Select(letter => Bytes[letter])] : Encoding.UTF8.GetBytes(token);

    /// <summary>A text as it is written in the alphabet.</summary>
    public static string ToLetters(string text) => string.Concat(Encoding.UTF8.GetBytes(text).Select(value => Letters[value]));
}
