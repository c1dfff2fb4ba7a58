using System.Globalization;
using Nibble.Cli.Report;
using Nibble.Torch.Data;
using Nibble.Torch.Models;
using Nibble.Torch.Tasks;

namespace Nibble.Cli.Comparison;

/// <summary>Held-out data of the model's task.</summary>
/// <param name="task">The task.</param>
/// <param name="data">Data that the task has read.</param>
/// <param name="context">Tokens per window; null for tasks that score one text at a time.</param>
/// <param name="windows">Most windows, texts or pairs to score; null for all.</param>
internal sealed class DataMeasure(ITask task, ITaskData data, int? context, int? windows) : IComparisonMeasure
{
    private const int SampleTexts = 128;
    private const int SampleWindows = 2;

    /// <inheritdoc/>
    public QualityScale Scale => QualityScale.Of(task.Kind);

    /// <inheritdoc/>
    public string Name => data.Name;

    /// <inheritdoc/>
    public IReadOnlyDictionary<string, string> Identity { get; } = new Dictionary<string, string>
    {
        ["evaluation data"] = data.Hash,
        ["context"] = context?.ToString(CultureInfo.InvariantCulture) ?? string.Empty,
        ["windows"] = windows?.ToString(CultureInfo.InvariantCulture) ?? string.Empty,
    };

    /// <inheritdoc/>
    public int? Context => context;

    /// <inheritdoc/>
    public int Count => Math.Min(windows ?? int.MaxValue, data.CountPieces(context ?? 1));

    /// <inheritdoc/>
    public int SampleCount => Math.Min(context is null ? SampleTexts : SampleWindows, data.CountPieces(context ?? 1));

    /// <inheritdoc/>
    public int Passes => 2;

    /// <inheritdoc/>
    public TaskScore Score(LoadedModel model, LoadedModel? reference, int? most, IProgress<RunProgress>? progress, CancellationToken cancellation) =>
        task.Evaluate(
            model.Model, data, new ScoreOptions { Context = context, Count = most ?? windows, Reference = reference?.Model }, progress, cancellation);
}
