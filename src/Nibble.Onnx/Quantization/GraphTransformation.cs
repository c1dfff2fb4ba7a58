namespace Nibble.Onnx.Quantization;

/// <summary>What a transformation did that makes a float model easier to quantize, and does not change what it computes.</summary>
/// <param name="Name">The transformation: <see cref="Equalization"/> or <see cref="Smoothing"/>.</param>
/// <param name="Groups">
/// The nodes that were rescaled together. For equalization, the two layers of each pair; for smoothing, the products that read the same value.
/// </param>
/// <param name="Skipped">The layers that were left as they are.</param>
public sealed record GraphTransformation(string Name, IReadOnlyList<IReadOnlyList<string>> Groups, IReadOnlyList<SkippedLayer> Skipped)
{
    /// <summary>The name of cross-layer equalization.</summary>
    public const string Equalization = "cle";

    /// <summary>The name of SmoothQuant.</summary>
    public const string Smoothing = "smooth";
}
