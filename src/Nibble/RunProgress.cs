namespace Nibble;

/// <summary>The progress of a long run.</summary>
/// <param name="Stage">The current stage, such as <c>calibrate</c>, <c>quantize</c>, <c>train</c> or <c>evaluate</c>.</param>
/// <param name="Done">Units finished.</param>
/// <param name="Total">Units in the stage.</param>
/// <param name="Loss">The latest training loss in nats per token; null outside training.</param>
public readonly record struct RunProgress(string Stage, long Done, long Total, double? Loss = null)
{
    /// <summary>The unit that is counted, such as MB; null if the stage's name implies it.</summary>
    public string? Unit { get; init; }

    /// <summary>Tokens in a unit; 0 if they are not counted.</summary>
    public int Tokens { get; init; }

    /// <summary>Perplexity of the latest step's text, or of held-out text if the training loss is not cross-entropy; null if neither is known.</summary>
    public double? Perplexity { get; init; }

    /// <summary>The latest loss on held-out text in nats per token; null if none has been measured.</summary>
    public double? HeldOutLoss { get; init; }
}
