using Nibble.Models;
using Nibble.Torch.Data;
using Nibble.Torch.Models;
using static TorchSharp.torch;

namespace Nibble.Torch.Tasks;

/// <summary>What a model is for: how its data are read, what it learns from them, and how well it does.</summary>
public interface ITask
{
    /// <summary>Which task it is.</summary>
    ModelTask Kind { get; }

    /// <summary>Reads data.</summary>
    /// <param name="path">A file; a pipe will do.</param>
    /// <param name="model">Whose tokenizer, sizes and classes to use.</param>
    /// <param name="options">How.</param>
    /// <param name="cancellation">Gives up waiting for a pipe.</param>
    /// <exception cref="NibbleException">The file is missing, or not of the form that the task takes.</exception>
    ITaskData Read(string path, LoadedModel model, ReadOptions options, CancellationToken cancellation = default);

    /// <summary>The mean loss of what a model computes.</summary>
    /// <param name="output">What it computes of a batch.</param>
    /// <param name="targets">What is right.</param>
    /// <returns>A scalar that gradients flow from.</returns>
    Tensor Loss(Tensor output, Tensor targets);

    /// <summary>How far a student is from its teacher, mean over tokens or texts.</summary>
    /// <param name="student">What the student computes of a batch.</param>
    /// <param name="teacher">What the teacher does.</param>
    /// <param name="temperature">Divides logits; unused where there are none.</param>
    /// <returns>A scalar that gradients flow from.</returns>
    Tensor Divergence(Tensor student, Tensor teacher, double temperature);

    /// <summary>Scores a model, in evaluation mode.</summary>
    /// <param name="model">The model.</param>
    /// <param name="data">Data that this task has read.</param>
    /// <param name="options">How.</param>
    /// <param name="progress">Told after each batch.</param>
    /// <param name="cancellation">Stops between batches.</param>
    /// <exception cref="NibbleException">The data have nothing to score by, or the model computes NaN or infinite values.</exception>
    TaskScore Evaluate(IQuantizableModel model, ITaskData data, ScoreOptions options, IProgress<RunProgress>? progress = null,
        CancellationToken cancellation = default);
}

/// <summary>How a model is scored.</summary>
public sealed record ScoreOptions
{
    /// <summary>The float model to compare with; null for none.</summary>
    public IQuantizableModel? Reference { get; init; }

    /// <summary>Windows, or texts, to score at most; null for all.</summary>
    public int? Count { get; init; }

    /// <summary>Tokens in a window of a text; null is 512, or what the model takes. Texts have lengths of their own.</summary>
    public int? Context { get; init; }
}

/// <summary>A measure of how well a model does its task.</summary>
/// <param name="Name">What it is called, such as <c>accuracy</c>.</param>
/// <param name="Value">Its value.</param>
/// <param name="IsHigherBetter">Whether more of it is better.</param>
public sealed record TaskMetric(string Name, double Value, bool IsHigherBetter = true);

/// <summary>How well a model does its task, and how far it is from its float reference.</summary>
/// <param name="Metrics">The measures, the one that counts first.</param>
/// <param name="Loss">The mean loss, nats a token or a text; null where the task has none.</param>
/// <param name="Count">Windows, texts or pairs that were scored.</param>
public sealed record TaskScore(IReadOnlyList<TaskMetric> Metrics, double? Loss, int Count)
{
    /// <summary>The measure that counts.</summary>
    public TaskMetric Main => Metrics[0];

    /// <summary>Tokens that were scored, where it is tokens that are predicted; otherwise <see cref="Count"/>.</summary>
    public long Predictions { get; init; } = Count;

    /// <summary>How far the model's predictions are from the reference's: the Kullback-Leibler divergence in nats, or what takes its place; null without
    /// a reference.</summary>
    public double? Divergence { get; init; }

    /// <summary>How alike the model's answers are to the reference's, 0 to 1: the share of equal ones, or the mean cosine of vectors; null without a
    /// reference.</summary>
    public double? Agreement { get; init; }

    /// <summary>The loss of each window or text: two models' on the same data tell how sure their difference is.</summary>
    public IReadOnlyList<double> PieceLosses { get; init; } = [];
}
