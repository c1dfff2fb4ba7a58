namespace Nibble.Torch;

/// <summary>The generator that a run's seed drives; the same seed gives the same draws on every machine.</summary>
internal static class SeededRandom
{
    public static Random Create(long seed) => new(unchecked((int)(seed ^ (seed >> 32))));
}
