using Nibble.Recipes;

namespace Nibble.Planning;

/// <summary>The source of a predicted loss.</summary>
internal enum Evidence
{
    /// <summary>The method was run to completion and scored on held-out text.</summary>
    Measured,

    /// <summary>Shorter trainings were measured, and their curve was extrapolated.</summary>
    Extrapolated,

    /// <summary>There was no time to try it. The value is typical relative to what was measured at the same bit width.</summary>
    Typical,
}

/// <summary>A way to quantize a model, with its predicted quality and cost.</summary>
internal sealed record PlannedOption
{
    /// <summary>The name, such as <c>ptq w4a16-g32-gptaq</c>.</summary>
    public required string Name { get; init; }

    /// <summary>The method.</summary>
    public required Method Method { get; init; }

    /// <summary>What happens to each layer.</summary>
    public required Recipe Recipe { get; init; }

    /// <summary>The bit width: bits of a weight.</summary>
    public required int Bits { get; init; }

    /// <summary>Optimizer steps; 0 if nothing is trained.</summary>
    public int Steps { get; init; }

    /// <summary>The predicted loss over the float model, in nats per token on held-out text.</summary>
    public required Estimate Loss { get; init; }

    /// <summary>The loss from quantization: over the float model, or over the trained float control if the option trains and training itself gains.</summary>
    public required Estimate Quantization { get; init; }

    /// <summary>The source of the prediction.</summary>
    public required Evidence Evidence { get; init; }

    /// <summary>Seconds to run it on this machine.</summary>
    public required double Seconds { get; init; }

    /// <summary>Peak memory of the process, in bytes.</summary>
    public required long PeakBytes { get; init; }

    /// <summary>Bytes of the artifact's tensors.</summary>
    public required long Bytes { get; init; }

    /// <summary>Tokens of text that it uses.</summary>
    public required long Tokens { get; init; }

    /// <summary>Whether it uses text at all, if only to calibrate.</summary>
    public required bool NeedsData { get; init; }

    /// <summary>The command that runs it.</summary>
    public required string Command { get; init; }

    /// <summary>Why the target engine cannot run it; null if it can.</summary>
    public string? EngineRefusal { get; init; }

    /// <summary>Whether weights are trained.</summary>
    public bool Trains => Method is Method.Qat or Method.Hybrid;
}
