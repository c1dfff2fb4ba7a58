using Nibble.Recipes;

namespace Nibble.Torch.Ptq;

/// <summary>What a run of post-training quantization has made.</summary>
/// <param name="Model">What the model is called.</param>
/// <param name="Layers">Quantized layers.</param>
/// <param name="SourceBytes">Bytes of the checkpoint's tensors on disk.</param>
/// <param name="Bytes">Bytes of the artifact's tensors on disk.</param>
/// <param name="Calibration">What text activations were looked at on, in words; null where none was.</param>
public sealed record QuantizationResult(string Model, int Layers, long SourceBytes, long Bytes, string? Calibration = null)
{
    /// <summary>What became of each layer, and what the user should know. What blocks warned of that an interrupted run had finished is not repeated.</summary>
    public RunSummary Summary { get; init; } = RunSummary.Empty;
}
