using Nibble.Models;

namespace Nibble.Planning;

/// <summary>The unit of a task's losses, as text.</summary>
/// <param name="Name">The name in a heading, such as <c>nats</c>.</param>
/// <param name="Mean">The name with what the mean is over, such as <c>nats per token</c>.</param>
/// <param name="Amount">The text after an amount, such as <c>nats</c> or <c>of cosine</c>.</param>
/// <param name="Divergence">The name of the divergence from the float model.</param>
internal sealed record LossUnit(string Name, string Mean, string Amount, string Divergence)
{
    private const string Cosine = "1 minus the cosine";
    private const string CosineWithFloat = Cosine + " with the float model's vectors";

    private static readonly LossUnit Tokens = new("nats", "nats per token", "nats", "KL divergence from the float model in nats per token")
    {
        HasPerplexity = true,
    };

    /// <summary>Whether the exponential of a loss is a perplexity, so that a loss over float can be expressed as a share of it.</summary>
    public bool HasPerplexity { get; private init; }

    /// <summary>The unit of a task's losses.</summary>
    /// <param name="task">The task; null means language modelling.</param>
    public static LossUnit Of(ModelTask? task) => task switch
    {
        ModelTask.Classification => new LossUnit("nats", "nats per text", "nats", "KL divergence from the float model in nats per text"),
        ModelTask.Regression => new LossUnit("squared error", "squared error", "of squared error", "squared difference from the float model's values"),
        ModelTask.Embedding => new LossUnit(Cosine, CosineWithFloat, "of cosine", CosineWithFloat),
        _ => Tokens,
    };
}
