using Nibble.Recipes;

namespace Nibble.Planning;

/// <summary>Where a predicted loss comes from.</summary>
internal enum Evidence
{
    /// <summary>The road was gone to its end and scored on held-out text.</summary>
    Measured,

    /// <summary>Shorter trainings were measured, and their curve was continued.</summary>
    Extrapolated,

    /// <summary>There was no time to try it: what is usual beside what was measured at the same width.</summary>
    Typical,
}

/// <summary>A way to quantize a model, and what it would give and take.</summary>
internal sealed record PlannedOption
{
    /// <summary>What to call it, such as <c>ptq w4a16-g32-gptaq</c>.</summary>
    public required string Name { get; init; }

    /// <summary>The road.</summary>
    public required Method Method { get; init; }

    /// <summary>What happens to each layer.</summary>
    public required Recipe Recipe { get; init; }

    /// <summary>The width it belongs to: bits of a weight.</summary>
    public required int Bits { get; init; }

    /// <summary>Optimizer steps; 0 where nothing is trained.</summary>
    public int Steps { get; init; }

    /// <summary>Predicted loss over the float model, nats per token on held-out text.</summary>
    public required Estimate Loss { get; init; }

    /// <summary>What quantization costs: the loss over the float model, or over the float control where the option trains and training alone gains.</summary>
    public required Estimate Quantization { get; init; }

    /// <summary>Where the prediction comes from.</summary>
    public required Evidence Evidence { get; init; }

    /// <summary>Seconds to make it on this machine.</summary>
    public required double Seconds { get; init; }

    /// <summary>Memory of the process at its highest, bytes.</summary>
    public required long PeakBytes { get; init; }

    /// <summary>Bytes of the artifact's tensors.</summary>
    public required long Bytes { get; init; }

    /// <summary>Tokens of text it looks at.</summary>
    public required long Tokens { get; init; }

    /// <summary>Whether it looks at text at all, be it to calibrate.</summary>
    public required bool NeedsData { get; init; }

    /// <summary>The command that makes it.</summary>
    public required string Command { get; init; }

    /// <summary>Why the target engine cannot run it; null where it can.</summary>
    public string? EngineRefusal { get; init; }

    /// <summary>Whether weights are trained.</summary>
    public bool Trains => Method is Method.Qat or Method.Hybrid;
}
