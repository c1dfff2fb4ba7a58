namespace Nibble.Recipes;

/// <summary>Guesses the word behind a typing error.</summary>
internal static class Suggestion
{
    /// <summary>A sentence that suggests the nearest known word; empty if none is near.</summary>
    public static string For(string found, IEnumerable<string> known)
    {
        var (distance, nearest) = known.Select(word => (Distance: Distance(found, word), Word: word)).DefaultIfEmpty((int.MaxValue, string.Empty))
            .MinBy(pair => pair.Item1);
        return distance <= Math.Max(1, nearest.Length / 3) ? $" Did you mean {nearest}?" : string.Empty;
    }

    /// <summary>Insertions, deletions and substitutions from one word to the other, ignoring case (Levenshtein 1966).</summary>
    private static int Distance(string from, string to)
    {
        // A long word is near to none. This also bounds the work on hostile input.
        if (Math.Abs(from.Length - to.Length) > to.Length)
        {
            return int.MaxValue;
        }

        var row = Enumerable.Range(0, to.Length + 1).ToArray();
        for (var i = 1; i <= from.Length; i++)
        {
            var diagonal = row[0];
            row[0] = i;
            for (var j = 1; j <= to.Length; j++)
            {
                var substituted = diagonal + (char.ToLowerInvariant(from[i - 1]) == char.ToLowerInvariant(to[j - 1]) ? 0 : 1);
                diagonal = row[j];
                row[j] = Math.Min(substituted, Math.Min(row[j], row[j - 1]) + 1);
            }
        }

        return row[^1];
    }
}
