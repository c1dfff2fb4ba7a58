using Nibble.Models;
using Nibble.Planning;
using Nibble.Torch.Data;
using Nibble.Torch.Models;
using Nibble.Torch.Native;
using static TorchSharp.torch;
using F = TorchSharp.torch.nn.functional;

namespace Nibble.Torch.Tasks;

/// <summary>Text embedding. The metric is the rank correlation of cosines with human similarity scores for pairs of texts.</summary>
/// <remarks>
/// A file for scoring has lines <c>text TAB text TAB score</c>. For calibration and training, texts are enough, with or without a score: the model learns
/// from the float model's vectors.
/// </remarks>
public sealed class Embedding : ITask
{
    /// <inheritdoc/>
    public ModelTask Kind => ModelTask.Embedding;

    /// <inheritdoc/>
    public ITaskData Read(IReadOnlyList<string> paths, LoadedModel model, ReadOptions options, CancellationToken cancellation = default) =>
        TextData.Read(paths, model, options, TextColumns.Apart, Regression.ParseNumber, cancellation);

    /// <inheritdoc/>
    /// <exception cref="NibbleException">Always, because texts alone do not define their vectors.</exception>
    public Tensor Loss(Tensor output, Tensor targets) =>
        throw new NibbleException("an embedding model learns from the float model: set distillation with a weight of 1");

    /// <inheritdoc/>
    /// <remarks>
    /// The sum of two terms: 1 minus the cosine of the two vectors, and the squared difference of all cosines between texts of the batch. The second term is
    /// there because applications compare cosines (relational distillation, Park et al. 2019).
    /// </remarks>
    public Tensor Divergence(Tensor student, Tensor teacher, double temperature)
    {
        using var scope = NewDisposeScope();
        var (actual, expected) = (F.normalize(student, dim: 1), F.normalize(teacher, dim: 1));
        var own = (actual * expected).sum(1).mean().SubtractedFrom(1);
        var between = (actual.matmul(actual.t()) - expected.matmul(expected.t())).Square().mean();
        return own.Plus(between).MoveToOuterDisposeScope();
    }

    /// <inheritdoc/>
    public TaskScore Evaluate(
        IQuantizableModel model, ITaskData data, ScoreOptions options, IProgress<RunProgress>? progress = null, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(model);
        ArgumentNullException.ThrowIfNull(options);
        var texts = (TextData)data;
        texts.RequireTargets();
        var pairs = Math.Min(options.Count ?? int.MaxValue, texts.Targets!.Count);
        var count = 2 * pairs;
        var vectors = new float[count][];
        var cosines = new double[count];
        TextScoring.ForEach(model, texts, count, options.Reference, (rows, output, reference) =>
        {
            var unit = F.normalize(output, dim: 1);
            var values = unit.contiguous().data<float>().ToArray();
            var width = (int)unit.shape[1];
            var alike = reference is null ? [] : Cosines(unit, reference);
            for (var i = 0; i < rows.Length; i++)
            {
                vectors[rows[i]] = values[(i * width)..((i + 1) * width)];
                cosines[rows[i]] = reference is null ? 0 : alike[i];
            }
        }, progress, cancellation);
        var scores = Enumerable.Range(0, pairs).Select(pair => Product(vectors[2 * pair], vectors[(2 * pair) + 1])).ToList();
        var expected = texts.Targets.Take(pairs).Select(value => (double)value).ToList();
        var cosine = options.Reference is null ? (double?)null : cosines.Average();
        return new TaskScore([new TaskMetric("Spearman", RankCorrelation.Spearman(scores, expected))], Loss: null, pairs)
        {
            Divergence = 1 - cosine,
            Agreement = cosine,
            PieceLosses = options.Reference is null ? [] : [.. cosines.Select(value => 1 - value)],
        };
    }

    /// <summary>Compares a model with another by their vectors of the same texts. No scores are needed.</summary>
    /// <param name="model">The model, in evaluation mode.</param>
    /// <param name="reference">The float model, in evaluation mode.</param>
    /// <param name="texts">The texts.</param>
    /// <param name="count">The number of lines to use.</param>
    /// <param name="cancellation">Cancels between batches.</param>
    /// <returns>The mean cosine, and 1 minus the cosine of each text as its loss.</returns>
    internal static TaskScore Compare(IQuantizableModel model, IQuantizableModel reference, TextData texts, int count, CancellationToken cancellation)
    {
        var cosines = new double[count * texts.Sequences.Count / texts.CountPieces(1)];
        TextScoring.ForEach(model, texts, cosines.Length, reference, (rows, output, expected) =>
        {
            var alike = Cosines(F.normalize(output, dim: 1), expected!);
            for (var i = 0; i < rows.Length; i++)
            {
                cosines[rows[i]] = alike[i];
            }
        }, progress: null, cancellation);
        var mean = cosines.Average();
        return new TaskScore([new TaskMetric("cosine", mean)], Loss: null, count)
        {
            Divergence = 1 - mean,
            Agreement = mean,
            PieceLosses = [.. cosines.Select(value => 1 - value)],
        };
    }

    private static float[] Cosines(Tensor unit, Tensor reference) => (unit * F.normalize(reference, dim: 1)).sum(1).contiguous().data<float>().ToArray();

    private static double Product(float[] left, float[] right)
    {
        var sum = 0.0;
        for (var i = 0; i < left.Length; i++)
        {
            sum += (double)left[i] * right[i];
        }

        return sum;
    }
}
