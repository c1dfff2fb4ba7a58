namespace Nibble.Torch;

/// <summary>The random generator of a run's seed. The same seed gives the same numbers on every machine.</summary>
internal static class SeededRandom
{
    public static Random Create(long seed) => new(unchecked((int)(seed ^ (seed >> 32))));

    /// <summary>The generator of one part of a run, for example an epoch. It does not depend on the draws of earlier parts.</summary>
    public static Random Create(long seed, long part)
    {
        // Finalizer of SplitMix64 (Steele et al. 2014): Random's first draws for neighbouring seeds are alike.
        var mixed = unchecked((ulong)seed + ((ulong)part * 0x9E3779B97F4A7C15));
        mixed = unchecked((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9);
        mixed = unchecked((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB);
        return Create(unchecked((long)(mixed ^ (mixed >> 31))));
    }
}
