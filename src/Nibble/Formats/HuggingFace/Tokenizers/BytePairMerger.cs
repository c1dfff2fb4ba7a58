namespace Nibble.Formats.HuggingFace.Tokenizers;

/// <summary>Merges adjacent tokens in n log n steps: the pair with the lowest rank first, and the leftmost of equal ranks (Sennrich et al. 2016).</summary>
internal sealed class BytePairMerger
{
    private readonly Dictionary<ulong, (int Rank, int Id)> pairs;

    /// <param name="capacity">The number of pairs that will be added.</param>
    public BytePairMerger(int capacity) => pairs = new Dictionary<ulong, (int Rank, int Id)>(capacity);

    /// <summary>Sets what two tokens merge into. A later call replaces an earlier one.</summary>
    public void Add(int left, int right, int rank, int id) => pairs[Key(left, right)] = (rank, id);

    /// <summary>Merges tokens until no pair remains.</summary>
    /// <param name="ids">The tokens. On return, the tokens that remain.</param>
    /// <param name="merged">Called for every merge, with its two tokens and the result.</param>
    public void Merge(List<int> ids, Action<int, int, int>? merged = null)
    {
        // The priority is the rank, and below it the place.
        var queue = new PriorityQueue<(int Place, int Id), ulong>();
        for (var i = 0; i + 1 < ids.Count; i++)
        {
            Offer(i, ids[i], ids[i + 1]);
        }

        if (queue.Count == 0)
        {
            return;
        }

        // A token merged into its predecessor leaves a gap, which the links of its neighbours skip.
        const int gone = int.MinValue;
        var (next, before) = (new int[ids.Count], new int[ids.Count]);
        for (var i = 0; i < ids.Count; i++)
        {
            (next[i], before[i]) = (i + 1, i - 1);
        }

        while (queue.TryDequeue(out var offer, out _))
        {
            var (place, right) = (offer.Place, next[offer.Place]);

            // The tokens may have changed since, so the pair may be another one or none.
            if (ids[place] == gone || right == ids.Count || !pairs.TryGetValue(Key(ids[place], ids[right]), out var pair) || pair.Id != offer.Id)
            {
                continue;
            }

            merged?.Invoke(ids[place], ids[right], pair.Id);
            (ids[place], ids[right]) = (pair.Id, gone);
            next[place] = next[right];
            if (next[place] < ids.Count)
            {
                before[next[place]] = place;
                Offer(place, ids[place], ids[next[place]]);
            }

            if (before[place] >= 0)
            {
                Offer(before[place], ids[before[place]], ids[place]);
            }
        }

        ids.RemoveAll(id => id == gone);

        void Offer(int place, int left, int right)
        {
            if (pairs.TryGetValue(Key(left, right), out var pair))
            {
                queue.Enqueue((place, pair.Id), Key(pair.Rank, place));
            }
        }
    }

    private static ulong Key(int left, int right) => ((ulong)(uint)left << 32) | (uint)right;
}
