namespace Nibble.Torch.Evaluation.Questions;

/// <summary>Compares sequences of tokens by value.</summary>
internal sealed class SameTokens : IEqualityComparer<int[]>
{
    public static SameTokens Instance { get; } = new();

    public bool Equals(int[]? x, int[]? y) => x.AsSpan().SequenceEqual(y);

    public int GetHashCode(int[] obj)
    {
        var hash = default(HashCode);
        foreach (var token in obj)
        {
            hash.Add(token);
        }

        return hash.ToHashCode();
    }
}
