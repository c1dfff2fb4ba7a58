using Nibble.Recipes;

namespace Nibble;

/// <summary>The predicted cost of a run, by a dry run.</summary>
/// <param name="Seconds">The duration of the run in seconds.</param>
/// <param name="PeakBytes">The peak resident memory in bytes.</param>
/// <param name="Bytes">The size of the artifact's tensors in bytes.</param>
/// <param name="DiskBytes">The maximum size of the unfinished work next to the artifact, in bytes.</param>
/// <param name="Layers">The number of layers to quantize.</param>
public sealed record RunEstimate(double Seconds, long PeakBytes, long Bytes, long DiskBytes, int Layers)
{
    /// <summary>What the run will do with each layer, with warnings for the user.</summary>
    public RunSummary Summary { get; init; } = RunSummary.Empty;
}
