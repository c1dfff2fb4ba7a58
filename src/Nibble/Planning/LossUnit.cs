using Nibble.Models;

namespace Nibble.Planning;

/// <summary>What the losses of a task are measured in, in words.</summary>
/// <param name="Name">What a heading calls it, such as <c>nats</c>.</param>
/// <param name="Mean">The same with what it is the mean of, such as <c>nats a token</c>.</param>
/// <param name="Amount">What stands behind an amount of it, such as <c>nats</c> or <c>of cosine</c>.</param>
/// <param name="Divergence">What the divergence from the float model is.</param>
internal sealed record LossUnit(string Name, string Mean, string Amount, string Divergence)
{
    private const string Cosine = "1 less the cosine";
    private const string CosineWithFloat = Cosine + " with the float model's vectors";

    private static readonly LossUnit Tokens = new("nats", "nats a token", "nats", "KL divergence from the float model in nats a token")
    {
        HasPerplexity = true,
    };

    /// <summary>Whether the exponential of a loss is a perplexity, so that a loss over float is a share of it.</summary>
    public bool HasPerplexity { get; private init; }

    /// <summary>What a task's losses are measured in.</summary>
    /// <param name="task">The task; null is language modelling.</param>
    public static LossUnit Of(ModelTask? task) => task switch
    {
        ModelTask.Classification => new LossUnit("nats", "nats a text", "nats", "KL divergence from the float model in nats a text"),
        ModelTask.Regression => new LossUnit("squared error", "squared error", "of squared error", "squared difference from the float model's numbers"),
        ModelTask.Embedding => new LossUnit(Cosine, CosineWithFloat, "of cosine", CosineWithFloat),
        _ => Tokens,
    };
}
