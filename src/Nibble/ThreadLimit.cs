namespace Nibble;

/// <summary>Limits the number of threads: more threads than processors only wait for one another, and thousands can bring a machine down.</summary>
internal static class ThreadLimit
{
    /// <summary>The most threads to use: the number of processors available to this process.</summary>
    public static int Most => Environment.ProcessorCount;

    /// <summary>The number of threads to use for a requested number.</summary>
    /// <param name="asked">The requested number; null for one per processor.</param>
    public static int Cap(int? asked) => Math.Clamp(asked ?? Most, 1, Most);
}
