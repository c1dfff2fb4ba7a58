using Nibble.Models;
using Nibble.Torch.Data;
using Nibble.Torch.Models;
using static TorchSharp.torch;

namespace Nibble.Torch.Tasks;

/// <summary>A task of models: how its data are read, how a model learns it, and how a model is scored.</summary>
public interface ITask
{
    /// <summary>The kind of task.</summary>
    ModelTask Kind { get; }

    /// <summary>Reads data.</summary>
    /// <param name="paths">The files, at least one, which are read in order as one data set. Each may be a pipe.</param>
    /// <param name="model">The model whose tokenizer, sizes and classes to use.</param>
    /// <param name="options">The options.</param>
    /// <param name="cancellation">Cancels waiting for a pipe.</param>
    /// <exception cref="NibbleException">A file is missing or does not have the task's format, or the files have different ones.</exception>
    ITaskData Read(IReadOnlyList<string> paths, LoadedModel model, ReadOptions options, CancellationToken cancellation = default);

    /// <summary>The mean loss of a model's output.</summary>
    /// <param name="output">The model's output for a batch.</param>
    /// <param name="targets">The correct answers.</param>
    /// <returns>A scalar with a gradient.</returns>
    Tensor Loss(Tensor output, Tensor targets);

    /// <summary>The distance between student and teacher, averaged over tokens or texts.</summary>
    /// <param name="student">The student's output for a batch.</param>
    /// <param name="teacher">The teacher's output for the batch.</param>
    /// <param name="temperature">The divisor of the logits. Unused by tasks without logits.</param>
    /// <returns>A scalar with a gradient.</returns>
    Tensor Divergence(Tensor student, Tensor teacher, double temperature);

    /// <summary>Scores a model, in evaluation mode.</summary>
    /// <param name="model">The model.</param>
    /// <param name="data">Data that this task has read.</param>
    /// <param name="options">The options.</param>
    /// <param name="progress">Receives progress after each batch.</param>
    /// <param name="cancellation">Cancels between batches.</param>
    /// <exception cref="NibbleException">The data contain nothing to score, or the model computes NaN or infinite values.</exception>
    TaskScore Evaluate(IQuantizableModel model, ITaskData data, ScoreOptions options, IProgress<RunProgress>? progress = null,
        CancellationToken cancellation = default);
}

/// <summary>Options for scoring a model.</summary>
public sealed record ScoreOptions
{
    /// <summary>The float model to compare with. Null for no comparison.</summary>
    public IQuantizableModel? Reference { get; init; }

    /// <summary>The maximum number of windows or texts to score. Null scores all.</summary>
    public int? Count { get; init; }

    /// <summary>
    /// Tokens per window of a running text. Null means 512 or the model's maximum, whichever is smaller. Separate texts keep their own lengths.
    /// </summary>
    public int? Context { get; init; }
}

/// <summary>A metric of how well a model does its task.</summary>
/// <param name="Name">Its name, for example <c>accuracy</c>.</param>
/// <param name="Value">Its value.</param>
/// <param name="IsHigherBetter">Whether higher values are better.</param>
public sealed record TaskMetric(string Name, double Value, bool IsHigherBetter = true);

/// <summary>How well a model does its task, and how far it is from its float reference.</summary>
/// <param name="Metrics">The metrics, the main one first.</param>
/// <param name="Loss">The mean loss, in nats per token or per text. Null if the task has none.</param>
/// <param name="Count">The number of windows, texts or pairs that were scored.</param>
public sealed record TaskScore(IReadOnlyList<TaskMetric> Metrics, double? Loss, int Count)
{
    /// <summary>The main metric.</summary>
    public TaskMetric Main => Metrics[0];

    /// <summary>The number of scored tokens if the task predicts tokens. Otherwise <see cref="Count"/>.</summary>
    public long Predictions { get; init; } = Count;

    /// <summary>
    /// The distance of the model's predictions from the reference's: the Kullback-Leibler divergence in nats, or the task's equivalent. Null without a
    /// reference.
    /// </summary>
    public double? Divergence { get; init; }

    /// <summary>
    /// The agreement of the model's answers with the reference's, 0 to 1: the share of equal answers, or the mean cosine of vectors. Null without a reference.
    /// </summary>
    public double? Agreement { get; init; }

    /// <summary>The loss of each window or text. Comparing two models on the same data shows how significant their difference is.</summary>
    public IReadOnlyList<double> PieceLosses { get; init; } = [];
}
