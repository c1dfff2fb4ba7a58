using Nibble.Onnx.Quantization.Proof;

namespace Nibble.Onnx.Quantization;

/// <summary>A quantized ONNX file, compared with its float model.</summary>
public sealed record OnnxQuantizationResult
{
    /// <summary>The file.</summary>
    public required string Path { get; init; }

    /// <summary>How it was quantized: the chosen mode, never <see cref="OnnxMode.Auto"/>.</summary>
    public required OnnxMode Mode { get; init; }

    /// <summary>The size of the float model in bytes, with its tensor file.</summary>
    public required long SourceBytes { get; init; }

    /// <summary>The size of the quantized model in bytes, with its tensor file.</summary>
    public required long Bytes { get; init; }

    /// <summary>What became of each node, in the order of the prepared graph: constants folded, batch normalization part of convolutions.</summary>
    public required IReadOnlyList<NodeDecision> Nodes { get; init; }

    /// <summary>What was changed before calibration without changing what the float model computes. Empty if the options or the mode name nothing.</summary>
    public required IReadOnlyList<GraphTransformation> Transformations { get; init; }

    /// <summary>The number of samples that it was calibrated on.</summary>
    public required int CalibrationSamples { get; init; }

    /// <summary>The number of samples that it was compared on.</summary>
    public required int ComparedSamples { get; init; }

    /// <summary>Whether the samples of the comparison were not used for calibration.</summary>
    public required bool IsHeldOut { get; init; }

    /// <summary>The differences of the outputs.</summary>
    public required IReadOnlyList<OutputDifference> Outputs { get; init; }

    /// <summary>The differences of the values inside the graph that are quantized, in its order. Empty if the mode quantizes none.</summary>
    public required IReadOnlyList<OutputDifference> Layers { get; init; }

    /// <summary>The time of one run, with one thread. Null if there was no sample.</summary>
    public required PairedTiming? Timing { get; init; }

    /// <summary>What the modes gave, if the fastest was looked for. Empty if the caller chose.</summary>
    public required IReadOnlyList<ModeTrial> Trials { get; init; }
}
