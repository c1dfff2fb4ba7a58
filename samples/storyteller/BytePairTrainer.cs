using System.Text;
using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.RegularExpressions;

namespace Nibble.Samples.Storyteller;

/// <summary>A trained byte-level BPE tokenizer: the tokens in the order of their ids, and the merges in the order of their ranks.</summary>
internal sealed record BytePairTokenizer(IReadOnlyList<string> Tokens, IReadOnlyList<(string Left, string Right)> Merges)
{
    /// <summary>The <c>tokenizer.json</c> of Hugging Face tokenizers, with \n line ends.</summary>
    public string ToJson()
    {
        using var buffer = new MemoryStream();
        // The relaxed encoder leaves the alphabet's letters beyond ASCII readable, as Hugging Face writes them.
        var options = new JsonWriterOptions { Indented = true, NewLine = "\n", Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };
        using (var json = new Utf8JsonWriter(buffer, options))
        {
            json.WriteStartObject();
            json.WriteString("version", "1.0");
            json.WriteNull("truncation");
            json.WriteNull("padding");
            json.WriteStartArray("added_tokens");
            for (var id = 0; id < BytePairTrainer.SpecialTokens.Length; id++)
            {
                json.WriteStartObject();
                json.WriteNumber("id", id);
                json.WriteString("content", BytePairTrainer.SpecialTokens[id]);
                json.WriteBoolean("single_word", false);
                json.WriteBoolean("lstrip", false);
                json.WriteBoolean("rstrip", false);
                json.WriteBoolean("normalized", false);
                json.WriteBoolean("special", true);
                json.WriteEndObject();
            }

            json.WriteEndArray();
            json.WriteNull("normalizer");
            json.WriteStartObject("pre_tokenizer");
            WriteByteLevel(json);
            json.WriteEndObject();
            WriteTemplate(json);
            json.WriteStartObject("decoder");
            WriteByteLevel(json);
            json.WriteEndObject();
            json.WriteStartObject("model");
            json.WriteString("type", "BPE");
            json.WriteNull("dropout");
            json.WriteNull("unk_token");
            json.WriteNull("continuing_subword_prefix");
            json.WriteNull("end_of_word_suffix");
            json.WriteBoolean("fuse_unk", false);
            json.WriteBoolean("byte_fallback", false);
            json.WriteBoolean("ignore_merges", false);
            json.WriteStartObject("vocab");
            for (var id = 0; id < Tokens.Count; id++)
            {
                json.WriteNumber(Tokens[id], id);
            }

            json.WriteEndObject();
            json.WriteStartArray("merges");
            foreach (var (left, right) in Merges)
            {
                json.WriteStringValue(left + " " + right);
            }

            json.WriteEndArray();
            json.WriteEndObject();
            json.WriteEndObject();
        }

        return Encoding.UTF8.GetString(buffer.ToArray()) + "\n";
    }

    /// <summary>Says that a text begins with the first special token, which nothing else in the file tells.</summary>
    private static void WriteTemplate(Utf8JsonWriter json)
    {
        var begin = BytePairTrainer.SpecialTokens[0];
        json.WriteStartObject("post_processor");
        json.WriteString("type", "TemplateProcessing");
        foreach (var (key, texts) in ((string, string[])[])[("single", ["A"]), ("pair", ["A", "B"])])
        {
            json.WriteStartArray(key);
            for (var part = 0; part < texts.Length; part++)
            {
                WritePiece(json, "SpecialToken", begin, part);
                WritePiece(json, "Sequence", texts[part], part);
            }

            json.WriteEndArray();
        }

        json.WriteStartObject("special_tokens");
        json.WriteStartObject(begin);
        json.WriteString("id", begin);
        json.WriteStartArray("ids");
        json.WriteNumberValue(0);
        json.WriteEndArray();
        json.WriteStartArray("tokens");
        json.WriteStringValue(begin);
        json.WriteEndArray();
        json.WriteEndObject();
        json.WriteEndObject();
        json.WriteEndObject();
    }

    private static void WritePiece(Utf8JsonWriter json, string kind, string id, int part)
    {
        json.WriteStartObject();
        json.WriteStartObject(kind);
        json.WriteString("id", id);
        json.WriteNumber("type_id", part);
        json.WriteEndObject();
        json.WriteEndObject();
    }

    private static void WriteByteLevel(Utf8JsonWriter json)
    {
        json.WriteString("type", "ByteLevel");
        json.WriteBoolean("add_prefix_space", false);
        json.WriteBoolean("trim_offsets", true);
        json.WriteBoolean("use_regex", true);
    }
}

/// <summary>
/// Trains byte-level byte-pair encoding as GPT-2 uses it (Sennrich et al. 2016, "Neural Machine Translation of Rare Words with Subword
/// Units", algorithm 1, on bytes): the most frequent pair inside a pre-token becomes a token until the vocabulary is full. A tie goes to
/// the pair whose ids are smaller, so one text gives one tokenizer.
/// </summary>
internal static partial class BytePairTrainer
{
    /// <summary>Begin (id 0) and end (id 1) of a text.</summary>
    public static readonly string[] SpecialTokens = ["<s>", "</s>"];

    /// <summary>The printable character that stands for each byte in token strings: itself where printable, else the next free one from U+0100.</summary>
    public static readonly IReadOnlyList<char> Alphabet = CreateAlphabet();

    /// <summary>Trains on <paramref name="texts"/> until there are <paramref name="vocabulary"/> tokens: special tokens, 256 bytes, merges.</summary>
    /// <exception cref="NibbleException">The vocabulary is too small for the bytes, or the texts hold too few pairs to fill it.</exception>
    public static BytePairTokenizer Train(IEnumerable<string> texts, int vocabulary)
    {
        var tokens = new List<string>(SpecialTokens);
        if (vocabulary < tokens.Count + 256)
        {
            throw new NibbleException(
                $"A vocabulary of {vocabulary} tokens was asked for; {tokens.Count} special tokens and 256 bytes need {tokens.Count + 256} or more.");
        }

        tokens.AddRange(Alphabet.Order().Select(letter => letter.ToString()));
        var words = CountWords(texts, tokens);
        var counts = new Dictionary<(int Left, int Right), long>();
        foreach (var (ids, count) in words)
        {
            AddPairs(counts, ids, count);
        }

        var merges = new List<(string Left, string Right)>();
        while (tokens.Count < vocabulary)
        {
            var best = MostFrequentPair(counts) ?? throw new NibbleException(
                $"The text ran out of pairs at {tokens.Count} tokens of {vocabulary}; give more text or ask for a smaller vocabulary.");
            merges.Add((tokens[best.Left], tokens[best.Right]));
            foreach (var (ids, count) in words)
            {
                // Only the pairs of words that change are counted again.
                if (Holds(ids, best))
                {
                    AddPairs(counts, ids, -count);
                    Merge(ids, best, tokens.Count);
                    AddPairs(counts, ids, count);
                }
            }

            tokens.Add(tokens[best.Left] + tokens[best.Right]);
        }

        return new BytePairTokenizer(tokens, merges);
    }

    /// <summary>Splits a text as GPT-2 does before byte pairs are merged.</summary>
    [GeneratedRegex(@"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+")]
    public static partial Regex PreTokens();

    private static List<(List<int> Ids, int Count)> CountWords(IEnumerable<string> texts, List<string> tokens)
    {
        var counts = new SortedDictionary<string, int>(StringComparer.Ordinal);
        foreach (var text in texts)
        {
            foreach (Match match in PreTokens().Matches(text))
            {
                counts[match.Value] = counts.GetValueOrDefault(match.Value) + 1;
            }
        }

        var idOfByte = Alphabet.Select(letter => tokens.IndexOf(letter.ToString())).ToArray();
        return [.. counts.Select(word => (Encoding.UTF8.GetBytes(word.Key).Select(value => idOfByte[value]).ToList(), word.Value))];
    }

    private static void AddPairs(Dictionary<(int Left, int Right), long> counts, List<int> ids, int count)
    {
        for (var i = 1; i < ids.Count; i++)
        {
            var pair = (ids[i - 1], ids[i]);
            var sum = counts.GetValueOrDefault(pair) + count;
            if (sum == 0)
            {
                counts.Remove(pair);
            }
            else
            {
                counts[pair] = sum;
            }
        }
    }

    private static (int Left, int Right)? MostFrequentPair(Dictionary<(int Left, int Right), long> counts)
    {
        ((int Left, int Right) Pair, long Count)? best = null;
        foreach (var (pair, count) in counts)
        {
            if (best is not { } other || count > other.Count || (count == other.Count && pair.CompareTo(other.Pair) < 0))
            {
                best = (pair, count);
            }
        }

        return best?.Pair;
    }

    private static bool Holds(List<int> ids, (int Left, int Right) pair)
    {
        for (var i = 1; i < ids.Count; i++)
        {
            if (ids[i - 1] == pair.Left && ids[i] == pair.Right)
            {
                return true;
            }
        }

        return false;
    }

    private static void Merge(List<int> ids, (int Left, int Right) pair, int merged)
    {
        for (var i = 0; i + 1 < ids.Count; i++)
        {
            if (ids[i] == pair.Left && ids[i + 1] == pair.Right)
            {
                ids[i] = merged;
                ids.RemoveAt(i + 1);
            }
        }
    }

    private static char[] CreateAlphabet()
    {
        var alphabet = new char[256];
        var next = (char)256;
        for (var value = 0; value < 256; value++)
        {
            var printable = value is (>= '!' and <= '~') or (>= 0xA1 and <= 0xAC) or >= 0xAE;
            alphabet[value] = printable ? (char)value : next++;
        }

        return alphabet;
    }
}
