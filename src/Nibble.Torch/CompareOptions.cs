using Nibble.Torch.Data;
using Microsoft.Extensions.Logging;
using Nibble.Models;
using Nibble.Torch.Tasks;

namespace Nibble;

/// <summary>How <c>Quantize.Compare</c> scores.</summary>
public sealed record CompareOptions
{
    /// <summary>Windows of a text, or texts, to score at most, at least 1; null, the default, for all.</summary>
    public int? Count { get; init; }

    /// <summary>Tokens in a window of a text; null, the default, is 512, or what the model takes. Texts in lines have lengths of their own.</summary>
    public int? Context { get; init; }

    /// <summary>Tokens to which texts in lines are cut, their marks included, at least 3; 128 when not given, or what the model takes.</summary>
    public int MaxLength { get; init; } = ReadOptions.UsualLength;

    /// <summary>What the models are for; null, the default, is what their folders say.</summary>
    public TaskConfig? Task { get; init; }

    /// <summary>Told what the user should know of the data, such as how many texts were cut; null, the default, for nobody.</summary>
    public ILogger? Logger { get; init; }
}

/// <summary>How well a float model and what was made of it do their task on the same data.</summary>
/// <param name="Float">The float model's score.</param>
/// <param name="Quantized">The quantized model's, with its divergence from the float model and how often they agree.</param>
public sealed record ModelComparison(TaskScore Float, TaskScore Quantized)
{
    /// <summary>
    /// How much worse the quantized model's loss is, in nats a token or a text; negative where it is better, null where the task has no loss.
    /// </summary>
    public double? LossIncrease => Quantized.Loss - Float.Loss;
}
