namespace Nibble;

/// <summary>How far a long run is.</summary>
/// <param name="Stage">What is being done, such as <c>calibrate</c>, <c>quantize</c>, <c>train</c>, <c>evaluate</c>.</param>
/// <param name="Done">Units finished.</param>
/// <param name="Total">Units in the stage.</param>
/// <param name="Loss">The latest training loss in nats per token; null outside training.</param>
public readonly record struct RunProgress(string Stage, long Done, long Total, double? Loss = null)
{
    /// <summary>What is counted, such as MB; null where the stage's name says it.</summary>
    public string? Unit { get; init; }

    /// <summary>Tokens in a unit; 0 where they are not counted.</summary>
    public int Tokens { get; init; }

    /// <summary>Perplexity of the text of the latest step, or of held-out text where the training loss is another; null where neither is known.</summary>
    public double? Perplexity { get; init; }

    /// <summary>The latest loss on held-out text in nats per token; null where none was looked at.</summary>
    public double? HeldOutLoss { get; init; }
}
