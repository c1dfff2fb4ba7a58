namespace Nibble.Onnx.Quantization;

/// <summary>What quantization did with a node.</summary>
/// <param name="Node">The node's name.</param>
/// <param name="Operator">Its operator before quantization.</param>
/// <param name="Kept">Why it stays float, in plain words. Null if it computes with, or looks up, integers.</param>
public sealed record NodeDecision(string Node, string Operator, string? Kept)
{
    /// <summary>The number of output channels whose scale was raised so that sums in 16 bits do not saturate (<see cref="SaturationGuard"/>).</summary>
    public int GuardedChannels { get; init; }

    /// <summary>The number of output channels whose scale was raised so that the bias, a multiple of it, fits in 32 bits.</summary>
    public int BiasChannels { get; init; }
}
