using Nibble.Recipes;

namespace Nibble.Torch.Ptq;

/// <summary>The result of a quantization run.</summary>
/// <param name="Model">The name of the model.</param>
/// <param name="Layers">The number of quantized layers.</param>
/// <param name="SourceBytes">The size of the checkpoint's tensors on disk, in bytes.</param>
/// <param name="Bytes">The size of the artifact's tensors on disk, in bytes.</param>
/// <param name="Calibration">A description of the calibration data. Null if there were none.</param>
public sealed record QuantizationResult(string Model, int Layers, long SourceBytes, long Bytes, string? Calibration = null)
{
    /// <summary>
    /// What happened to each layer, with warnings for the user. Warnings about blocks that an interrupted run had finished are not repeated.
    /// </summary>
    public RunSummary Summary { get; init; } = RunSummary.Empty;
}
