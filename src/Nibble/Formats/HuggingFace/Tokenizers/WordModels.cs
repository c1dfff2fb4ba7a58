using System.Text;

namespace Nibble.Formats.HuggingFace.Tokenizers;

/// <summary>Converts a word to ids.</summary>
/// <param name="path">The file, for messages.</param>
/// <param name="vocabulary">The ids by token.</param>
/// <param name="unknown">The id for what cannot be spelled; null if there is none.</param>
internal abstract class WordModel(string path, Dictionary<string, int> vocabulary, int? unknown)
{
    /// <summary>The ids by token.</summary>
    public Dictionary<string, int> Vocabulary { get; } = vocabulary;

    /// <summary>The id for what cannot be spelled; null if there is none.</summary>
    public int? UnknownId { get; } = unknown;

    /// <summary>Appends the ids of a word.</summary>
    /// <exception cref="NibbleException">The vocabulary cannot spell the word and has no id for unknown text.</exception>
    public abstract void Encode(string word, List<int> ids);

    /// <summary>The id for unknown text.</summary>
    protected int Unknown(string text) => UnknownId ?? throw new NibbleException($"{path}: the vocabulary cannot spell '{text}' and has no token for "
        + "unknown text (unk_token or unk_id); remove it from the text");

    /// <summary>Spells text with the tokens of its bytes, such as <c>&lt;0x0A&gt;</c>, if there are tokens for all of them.</summary>
    protected bool AppendBytes(string text, List<int> ids)
    {
        var before = ids.Count;
        foreach (var value in Encoding.UTF8.GetBytes(text))
        {
            if (!Vocabulary.TryGetValue(ByteToken.Of(value), out var id))
            {
                ids.RemoveRange(before, ids.Count - before);
                return false;
            }

            ids.Add(id);
        }

        return true;
    }
}

/// <summary>How words are spelled before BPE merges them.</summary>
/// <param name="Prefix">What precedes each character but the first of a word.</param>
/// <param name="Suffix">What follows the last character of a word.</param>
internal sealed record BytePairSpelling(string Prefix, string Suffix)
{
    /// <summary>Whether adjacent unknown characters become one unknown token.</summary>
    public bool FusesUnknown { get; init; }

    /// <summary>Whether unknown characters are spelled with the tokens of their bytes.</summary>
    public bool FallsBackToBytes { get; init; }

    /// <summary>Whether a word that is a token becomes that token regardless of merges.</summary>
    public bool IgnoresMerges { get; init; }
}

/// <summary>BPE (Sennrich et al. 2016) on characters.</summary>
/// <remarks>Follows huggingface/tokenizers, <c>models/bpe/model.rs</c>.</remarks>
internal sealed class BytePairWords : WordModel
{
    private readonly BytePairSpelling spelling;
    private readonly BytePairMerger merger;

    /// <param name="path">The file, for messages.</param>
    /// <param name="vocabulary">The ids by token.</param>
    /// <param name="unknown">The id for unknown characters; null if there is none.</param>
    /// <param name="merges">Pairs of tokens in the order of merging.</param>
    /// <param name="spelling">How words are spelled.</param>
    /// <exception cref="FormatException">A merge uses tokens that the vocabulary lacks.</exception>
    public BytePairWords(string path, Dictionary<string, int> vocabulary, int? unknown, IReadOnlyList<(string Left, string Right)> merges,
        BytePairSpelling spelling)
        : base(path, vocabulary, unknown)
    {
        this.spelling = spelling;
        merger = new BytePairMerger(merges.Count);
        for (var rank = 0; rank < merges.Count; rank++)
        {
            var (left, right) = merges[rank];
            merger.Add(Id(left), Id(right), rank, Id(left + (right.StartsWith(spelling.Prefix, StringComparison.Ordinal) ? right[spelling.Prefix.Length..]
                : throw new FormatException($"a merge continues a word with '{right}', which does not start with '{spelling.Prefix}'"))));
        }

        int Id(string token) => vocabulary.TryGetValue(token, out var id) ? id
            : throw new FormatException($"a merge uses or produces the token '{token}', which the vocabulary lacks");
    }

    public override void Encode(string word, List<int> ids)
    {
        if (spelling.IgnoresMerges && Vocabulary.TryGetValue(word, out var whole))
        {
            ids.Add(whole);
            return;
        }

        var (symbols, at, waits) = (new List<int>(word.Length), 0, false);
        var lookup = Vocabulary.GetAlternateLookup<ReadOnlySpan<char>>();
        var isPlain = spelling.Prefix.Length == 0 && spelling.Suffix.Length == 0;
        foreach (var rune in word.EnumerateRunes())
        {
            var character = word.AsSpan(at, rune.Utf16SequenceLength);
            var (isFirst, isLast) = (at == 0, at + rune.Utf16SequenceLength == word.Length);
            at += rune.Utf16SequenceLength;
            var text = isPlain ? character : string.Concat(isFirst ? string.Empty : spelling.Prefix, character, isLast ? spelling.Suffix : string.Empty);
            if (lookup.TryGetValue(text, out var id))
            {
                Flush();
                symbols.Add(id);
            }
            else if (!spelling.FallsBackToBytes || !AppendBytes(text.ToString(), symbols))
            {
                // The library keeps an unknown token back until a known one follows, even if bytes come between.
                if (!spelling.FusesUnknown)
                {
                    Flush();
                }

                _ = Unknown(text.ToString());
                waits = true;
            }
        }

        Flush();
        merger.Merge(symbols);
        ids.AddRange(symbols);

        void Flush()
        {
            if (waits)
            {
                symbols.Add(UnknownId!.Value);
                waits = false;
            }
        }
    }
}

/// <summary>The most probable sequence of tokens (Kudo 2018).</summary>
/// <remarks>Follows huggingface/tokenizers, <c>models/unigram/model.rs</c>.</remarks>
internal sealed class UnigramWords : WordModel
{
    // What unknown characters score less than the worst token.
    private const double Penalty = 10;

    private readonly Dictionary<(int Node, char Next), int> trie = [];
    private readonly List<int> ends = [-1];
    private readonly double[] scores;
    private readonly double worst;
    private readonly bool fallsBackToBytes;

    /// <param name="path">The file, for messages.</param>
    /// <param name="pieces">The tokens with their scores. The index of a token is its id.</param>
    /// <param name="unknown">The id for unknown characters; null if there is none.</param>
    /// <param name="fallsBackToBytes">Whether unknown characters are spelled with the tokens of their bytes.</param>
    public UnigramWords(string path, IReadOnlyList<(string Text, double Score)> pieces, int? unknown, bool fallsBackToBytes)
        : base(path, Ids(pieces), unknown)
    {
        this.fallsBackToBytes = fallsBackToBytes;
        scores = [.. pieces.Select(piece => piece.Score)];
        worst = scores.DefaultIfEmpty().Min();
        foreach (var (text, id) in Vocabulary)
        {
            var node = 0;
            foreach (var letter in text)
            {
                if (!trie.TryGetValue((node, letter), out var next))
                {
                    trie.Add((node, letter), next = ends.Count);
                    ends.Add(-1);
                }

                node = next;
            }

            ends[node] = id;
        }
    }

    // Of equal tokens, the last counts.
    private static Dictionary<string, int> Ids(IReadOnlyList<(string Text, double Score)> pieces)
    {
        var ids = new Dictionary<string, int>(pieces.Count, StringComparer.Ordinal);
        for (var id = 0; id < pieces.Count; id++)
        {
            ids[pieces[id].Text] = id;
        }

        return ids;
    }

    public override void Encode(string word, List<int> ids)
    {
        var parts = Best(word);
        for (var i = parts.Count - 1; i >= 0; i--)
        {
            var (start, end, id) = parts[i];

            // Adjacent unknown characters are one text.
            while (id == UnknownId && i > 0 && parts[i - 1].Id == UnknownId)
            {
                end = parts[--i].End;
            }

            var text = word[start..end];
            if (Vocabulary.TryGetValue(text, out var known))
            {
                ids.Add(known);
            }
            else if (!fallsBackToBytes || !AppendBytes(text, ids))
            {
                ids.Add(Unknown(text));
            }
        }
    }

    /// <summary>The parts of the best path, from the last to the first.</summary>
    private List<(int Start, int End, int Id)> Best(string word)
    {
        var best = new (double Score, int Start, int Id)[word.Length + 1];
        Array.Fill(best, (0, -1, 0));
        for (var start = 0; start < word.Length;)
        {
            var length = char.IsHighSurrogate(word[start]) && start + 1 < word.Length ? 2 : 1;
            var (node, isKnown, score) = (0, false, best[start].Score);
            for (var end = start; end < word.Length && trie.TryGetValue((node, word[end]), out node);)
            {
                end++;
                if (ends[node] is >= 0 and var id)
                {
                    Offer(start, end, id, score + scores[id]);
                    isKnown |= end - start == length;
                }
            }

            if (!isKnown)
            {
                Offer(start, start + length, UnknownId ?? Unknown(word.Substring(start, length)), score + (worst - Penalty));
            }

            start += length;
        }

        var parts = new List<(int Start, int End, int Id)>();
        for (var end = word.Length; end > 0; end = best[end].Start)
        {
            parts.Add((best[end].Start, end, best[end].Id));
        }

        return parts;

        void Offer(int start, int end, int id, double score)
        {
            if (best[end].Start < 0 || score > best[end].Score)
            {
                best[end] = (score, start, id);
            }
        }
    }
}

/// <summary>WordPiece (Devlin et al. 2019): the longest token at the start of a word, then the longest token that continues it.</summary>
/// <param name="path">The file, for messages.</param>
/// <param name="vocabulary">The ids by token.</param>
/// <param name="unknown">The id for words that cannot be spelled; null if there is none.</param>
/// <param name="prefix">What precedes the tokens that continue a word.</param>
/// <param name="longest">The maximum number of characters in a word to spell.</param>
internal sealed class WordPieceWords(string path, Dictionary<string, int> vocabulary, int? unknown, string prefix, int longest)
    : WordModel(path, vocabulary, unknown)
{
    private readonly int longestToken = vocabulary.Keys.Select(token => token.Length).DefaultIfEmpty().Max();

    public override void Encode(string word, List<int> ids)
    {
        var (before, lookup) = (ids.Count, Vocabulary.GetAlternateLookup<ReadOnlySpan<char>>());
        var isLong = word.Length > longest && word.EnumerateRunes().Count() > longest;
        for (var start = 0; !isLong && start < word.Length;)
        {
            var (end, id) = (Math.Min(word.Length, start + longestToken), -1);
            while (end > start && !lookup.TryGetValue(start == 0 ? word.AsSpan(0, end) : string.Concat(prefix, word.AsSpan(start, end - start)), out id))
            {
                (end, id) = (end - (end - start > 1 && char.IsLowSurrogate(word[end - 1]) ? 2 : 1), -1);
            }

            if (id < 0)
            {
                break;
            }

            ids.Add(id);
            start = end;
            if (start == word.Length)
            {
                return;
            }
        }

        ids.RemoveRange(before, ids.Count - before);
        ids.Add(Unknown(word));
    }
}

/// <summary>A vocabulary of whole words.</summary>
/// <param name="path">The file, for messages.</param>
/// <param name="vocabulary">The ids by word.</param>
/// <param name="unknown">The id for other words; null if there is none.</param>
internal sealed class WholeWords(string path, Dictionary<string, int> vocabulary, int? unknown) : WordModel(path, vocabulary, unknown)
{
    public override void Encode(string word, List<int> ids) => ids.Add(Vocabulary.TryGetValue(word, out var id) ? id : Unknown(word));
}
