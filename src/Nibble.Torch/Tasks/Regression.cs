using System.Globalization;
using Nibble.Models;
using Nibble.Planning;
using Nibble.Torch.Data;
using Nibble.Torch.Models;
using Nibble.Torch.Native;
using static TorchSharp.torch;

namespace Nibble.Torch.Tasks;

/// <summary>Prediction of a value for a text or a pair of texts. The metric is the rank correlation of the values.</summary>
/// <remarks>Files have lines <c>text TAB number</c> or <c>text TAB text TAB number</c>.</remarks>
public sealed class Regression : ITask
{
    /// <inheritdoc/>
    public ModelTask Kind => ModelTask.Regression;

    /// <inheritdoc/>
    public ITaskData Read(IReadOnlyList<string> paths, LoadedModel model, ReadOptions options, CancellationToken cancellation = default) =>
        TextData.Read(paths, model, options, TextColumns.Joined, ParseNumber, cancellation);

    /// <inheritdoc/>
    public Tensor Loss(Tensor output, Tensor targets)
    {
        ArgumentNullException.ThrowIfNull(output);
        return nn.functional.mse_loss(output.squeeze(1), targets);
    }

    /// <inheritdoc/>
    public Tensor Divergence(Tensor student, Tensor teacher, double temperature) => nn.functional.mse_loss(student, teacher);

    /// <inheritdoc/>
    public TaskScore Evaluate(
        IQuantizableModel model, ITaskData data, ScoreOptions options, IProgress<RunProgress>? progress = null, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(model);
        ArgumentNullException.ThrowIfNull(options);
        var texts = (TextData)data;
        texts.RequireTargets();
        var count = Math.Min(options.Count ?? int.MaxValue, texts.Sequences.Count);
        var (values, losses) = (new double[count], new double[count]);
        var divergence = 0.0;
        TextScoring.ForEach(model, texts, count, options.Reference, (rows, output, reference) =>
        {
            var numbers = output.squeeze(1).contiguous().data<float>().ToArray();
            for (var i = 0; i < rows.Length; i++)
            {
                values[rows[i]] = numbers[i];
                losses[rows[i]] = Math.Pow(numbers[i] - texts.Targets![rows[i]], 2);
            }

            divergence += reference is null ? 0 : (output - reference).Square().sum(ScalarType.Float64).item<double>();
        }, progress, cancellation);
        var expected = texts.Targets!.Take(count).Select(value => (double)value).ToList();
        return new TaskScore([new TaskMetric("Spearman", RankCorrelation.Spearman(values, expected)), new TaskMetric("squared error", losses.Average(), false)],
            losses.Average(), count)
        {
            Divergence = options.Reference is null ? null : divergence / count,
            PieceLosses = losses,
        };
    }

    internal static float ParseNumber(string cell, string place) =>
        float.TryParse(cell, NumberStyles.Float, CultureInfo.InvariantCulture, out var number) && float.IsFinite(number)
            ? number
            : throw new NibbleException($"{place} ends in '{cell}', expected a number");
}
