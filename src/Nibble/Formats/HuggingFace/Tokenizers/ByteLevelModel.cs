using System.Text;

namespace Nibble.Formats.HuggingFace.Tokenizers;

/// <summary>A Unicode normalization form.</summary>
internal enum NormalizationForm
{
    /// <summary>Composed characters: <see cref="UnicodeNormalization.Compose"/>.</summary>
    C,

    /// <summary>Decomposed characters: <see cref="UnicodeNormalization.Decompose"/>.</summary>
    D,
}

/// <summary>The parts of a byte-level BPE tokenizer.</summary>
/// <param name="Steps">How text is split into words.</param>
/// <param name="Vocabulary">Ids by token, in the alphabet for bytes.</param>
/// <param name="Merges">Pairs of tokens in the order of merging.</param>
internal sealed record BytePairs(IReadOnlyList<SplitStep> Steps, Dictionary<string, int> Vocabulary, IReadOnlyList<(string Left, string Right)> Merges)
{
    /// <summary>The normalization of text before it is split; null for none.</summary>
    public NormalizationForm? Normalization { get; init; }

    /// <summary>Whether a word that is a token becomes that token regardless of merges.</summary>
    public bool IgnoresMerges { get; init; }
}

/// <summary>Byte-level BPE as in GPT-2: 256 characters represent the bytes, and merges happen within words.</summary>
internal sealed class ByteLevelModel : TokenModel
{
    private readonly TextRule[] rules;
    private readonly BytePairMerger merger;
    private readonly int[] idsOfBytes;
    private readonly byte[]?[] bytesOfIds;
    private readonly string?[] tokens;

    /// <param name="pairs">The parts of the tokenizer.</param>
    /// <exception cref="ArgumentException">.NET cannot parse a pattern.</exception>
    /// <exception cref="FormatException">A merge uses tokens that the vocabulary lacks.</exception>
    public ByteLevelModel(BytePairs pairs)
    {
        Pairs = pairs;
        rules = [.. pairs.Steps.Select(step => step.ToRule())];
        merger = new BytePairMerger(pairs.Merges.Count);
        for (var rank = 0; rank < pairs.Merges.Count; rank++)
        {
            var (left, right) = pairs.Merges[rank];
            merger.Add(Id(left), Id(right), rank, Id(left + right));
        }

        idsOfBytes = [.. ByteAlphabet.Letters.Select(letter => pairs.Vocabulary.GetValueOrDefault(letter.ToString(), -1))];
        Size = pairs.Vocabulary.Values.Max() + 1;
        (bytesOfIds, tokens) = (new byte[]?[Size], new string?[Size]);
        foreach (var (token, id) in pairs.Vocabulary)
        {
            (bytesOfIds[id], tokens[id]) = (ByteAlphabet.ToBytes(token), token);
        }

        int Id(string token) => pairs.Vocabulary.TryGetValue(token, out var id) ? id
            : throw new FormatException($"a merge uses or produces the token '{token}', which the vocabulary lacks");
    }

    /// <summary>The parts of the tokenizer.</summary>
    public BytePairs Pairs { get; }

    public override int Size { get; }

    public override int? IdOf(string text) => Pairs.Vocabulary.TryGetValue(text, out var id) ? id : null;

    public override string? TokenOf(int id) => tokens[id];

    public override string Normalize(string text, bool first) => Pairs.Normalization switch
    {
        NormalizationForm.C => UnicodeNormalization.Compose(text),
        NormalizationForm.D => UnicodeNormalization.Decompose(text),
        _ => text,
    };

    public override string NormalizeToken(string text) => Normalize(text, first: false);

    public override void Encode(string text, bool first, List<int> ids)
    {
        // Most text consists of a few frequent words.
        var known = new Dictionary<string, int[]>(StringComparer.Ordinal);
        foreach (var word in TextRules.Apply(rules, text, first))
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
                : throw new NibbleException($"the tokenizer has no token for the byte 0x{value:X2} of '{word}'; remove what contains it from the text"));
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

    /// <summary>The first token that merges do not produce from its own bytes, which shows whether merges are ignored; null if there is none.</summary>
    public string? UnreachableByMerges()
    {
        var word = new List<int>();
        foreach (var (token, id) in Pairs.Vocabulary)
        {
            word.Clear();
            word.AddRange(bytesOfIds[id]!.Select(value => idsOfBytes[value]));
            merger.Merge(word);

            // Only a single word is looked up as a whole.
            if ((word.Count != 1 || word[0] != id) && Encoding.UTF8.GetString(bytesOfIds[id]!) is var text && !text.Contains('\uFFFD')
                && TextRules.Apply(rules, text, first: true).Count == 1)
            {
                return token;
            }
        }

        return null;
    }
}

/// <summary>The characters that represent bytes in the tokens of byte-level BPE (openai/gpt-2, <c>encoder.py</c>).</summary>
internal static class ByteAlphabet
{
    private static readonly Dictionary<char, byte> Bytes;

    static ByteAlphabet()
    {
        // Printable bytes represent themselves. The others use characters from U+0100 up.
        var next = (char)0x100;
        Letters = [.. Enumerable.Range(0, 256).Select(value => value is (>= '!' and <= '~') or (>= 0xA1 and <= 0xAC) or >= 0xAE ? (char)value : next++)];
        Bytes = Enumerable.Range(0, 256).ToDictionary(value => Letters[value], value => (byte)value);
    }

    /// <summary>The character of each byte.</summary>
    public static IReadOnlyList<char> Letters { get; }

    /// <summary>The bytes of a token. For a token outside the alphabet, the bytes of its text.</summary>
    public static byte[] ToBytes(string token) => token.All(Bytes.ContainsKey) ? [.. token.Select(letter => Bytes[letter])] : Encoding.UTF8.GetBytes(token);

    /// <summary>Text written in the alphabet.</summary>
    public static string ToLetters(string text) => string.Concat(Encoding.UTF8.GetBytes(text).Select(value => Letters[value]));
}
