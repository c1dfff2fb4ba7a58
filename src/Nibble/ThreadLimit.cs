namespace Nibble;

/// <summary>Bounds the threads that work is given: more than there are processors only wait for one another, and thousands bring a machine down.</summary>
internal static class ThreadLimit
{
    /// <summary>The most threads that work is given: as many as this process may use processors.</summary>
    public static int Most => Environment.ProcessorCount;

    /// <summary>The threads to use where some number is asked for.</summary>
    /// <param name="asked">The number; null for as many as there are processors.</param>
    public static int Cap(int? asked) => Math.Clamp(asked ?? Most, 1, Most);
}
