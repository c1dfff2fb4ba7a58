namespace Nibble.Onnx.Quantization;

/// <summary>What quantizing each node of a model alone does to its outputs.</summary>
public sealed record OnnxSensitivityResult
{
    /// <summary>The convolutions and products, the largest loss first.</summary>
    public required IReadOnlyList<NodeSensitivity> Nodes { get; init; }

    /// <summary>The number of samples that the ranges come from.</summary>
    public required int CalibrationSamples { get; init; }

    /// <summary>The number of samples that the losses are measured on.</summary>
    public required int MeasuredSamples { get; init; }

    /// <summary>Whether the measured samples were not used for calibration.</summary>
    public required bool IsHeldOut { get; init; }
}
