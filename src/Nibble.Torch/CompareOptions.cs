using Nibble.Torch.Data;
using Microsoft.Extensions.Logging;
using Nibble.Models;
using Nibble.Torch.Tasks;

namespace Nibble;

/// <summary>Options of <c>Quantize.Compare</c>.</summary>
public sealed record CompareOptions
{
    /// <summary>The maximum number of windows of a running text, or of separate texts, to score, at least 1. Default: null, all of them.</summary>
    public int? Count { get; init; }

    /// <summary>
    /// Tokens per window of a running text. Default: null, which means 512 or the model's maximum, whichever is smaller. Texts that are one per line keep
    /// their own lengths.
    /// </summary>
    public int? Context { get; init; }

    /// <summary>
    /// The maximum number of tokens per text for data with one text per line, special tokens included, at least 3. Longer texts are cut. Default: 128 or the
    /// model's maximum, whichever is smaller.
    /// </summary>
    public int MaxLength { get; init; } = ReadOptions.DefaultLength;

    /// <summary>The task of the models. Default: null, which reads it from their folders.</summary>
    public TaskConfig? Task { get; init; }

    /// <summary>Receives notes about the data, for example how many texts were cut. Default: null, no logging.</summary>
    public ILogger? Logger { get; init; }
}

/// <summary>How well a float model and its quantized version do their task on the same data.</summary>
/// <param name="Float">The float model's score.</param>
/// <param name="Quantized">The quantized model's score, with its divergence from the float model and how often the two agree.</param>
public sealed record ModelComparison(TaskScore Float, TaskScore Quantized)
{
    /// <summary>
    /// The increase of the loss from the float to the quantized model, in nats per token or per text. Negative if the quantized model is better, null if the
    /// task has no loss.
    /// </summary>
    public double? LossIncrease => Quantized.Loss - Float.Loss;
}
