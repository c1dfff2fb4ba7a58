using Nibble.Models;
using Nibble.Torch.Data;
using Nibble.Torch.Models;
using static TorchSharp.torch;

namespace Nibble.Torch.Tasks;

/// <summary>Classification of texts or pairs of texts. The metrics are accuracy, F1 and Matthews correlation.</summary>
/// <remarks>Files have lines <c>text TAB label</c> or <c>text TAB text TAB label</c>. A label is the name or the number of a class.</remarks>
public sealed class Classification : ITask
{
    /// <summary>The name of the main metric.</summary>
    public const string Accuracy = "accuracy";

    /// <inheritdoc/>
    public ModelTask Kind => ModelTask.Classification;

    /// <inheritdoc/>
    public ITaskData Read(IReadOnlyList<string> paths, LoadedModel model, ReadOptions options, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(model);
        ArgumentNullException.ThrowIfNull(options);
        var labels = ClassLabels.Of(model.ConfigJson);
        return TextData.Read(paths, model, options, TextColumns.Joined, (cell, place) => labels.Parse(cell, place), cancellation);
    }

    /// <inheritdoc/>
    public Tensor Loss(Tensor output, Tensor targets)
    {
        ArgumentNullException.ThrowIfNull(targets);
        return nn.functional.cross_entropy(output, targets.to(int64));
    }

    /// <inheritdoc/>
    public Tensor Divergence(Tensor student, Tensor teacher, double temperature) => Distances.KullbackLeibler(student, teacher, temperature);

    /// <inheritdoc/>
    public TaskScore Evaluate(
        IQuantizableModel model, ITaskData data, ScoreOptions options, IProgress<RunProgress>? progress = null, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(model);
        ArgumentNullException.ThrowIfNull(options);
        var texts = (TextData)data;
        texts.RequireTargets();
        var count = Math.Min(options.Count ?? int.MaxValue, texts.Sequences.Count);
        var (losses, predicted) = (new double[count], new int[count]);
        var (divergence, agreements) = (0.0, 0L);
        var classes = 0L;
        TextScoring.ForEach(model, texts, count, options.Reference, (rows, output, reference) =>
        {
            var logProbabilities = output.log_softmax(1);
            classes = output.shape[1];
            var targets = texts.TargetsOf(rows).to(int64);
            var loss = -logProbabilities.gather(1, targets.unsqueeze(1)).squeeze(1);
            Copy(loss.data<float>().ToArray(), rows, (value, row) => losses[row] = value);
            Copy(output.argmax(1).data<long>().ToArray(), rows, (value, row) => predicted[row] = (int)value);
            if (reference is not null)
            {
                var expected = reference.log_softmax(1);
                divergence += (expected.exp() * (expected - logProbabilities)).sum(ScalarType.Float64).item<double>();
                agreements += expected.argmax(1).eq(output.argmax(1)).sum().item<long>();
            }
        }, progress, cancellation);
        var confusion = Confusion(predicted, texts.Targets!, (int)classes);
        return new TaskScore(
            [new TaskMetric(Accuracy, AccuracyOf(confusion)), new TaskMetric("F1", F1(confusion)), new TaskMetric("Matthews correlation", Matthews(confusion))],
            losses.Average(),
            count)
        {
            Divergence = options.Reference is null ? null : divergence / count,
            Agreement = options.Reference is null ? null : (double)agreements / count,
            PieceLosses = losses,
        };
    }

    /// <summary>The number of texts of each class (row) that were predicted as each class (column).</summary>
    internal static long[,] Confusion(IReadOnlyList<int> predicted, IReadOnlyList<float> targets, int classes)
    {
        var confusion = new long[classes, classes];
        for (var i = 0; i < predicted.Count; i++)
        {
            confusion[(int)targets[i], predicted[i]]++;
        }

        return confusion;
    }

    /// <summary>Share of the texts whose class is correct, 0 to 1.</summary>
    internal static double AccuracyOf(long[,] confusion) =>
        Enumerable.Range(0, confusion.GetLength(0)).Sum(i => confusion[i, i]) / (double)confusion.Cast<long>().Sum();

    /// <summary>
    /// The F1 score of class 1 for two classes, otherwise the mean over the classes. A class that neither occurs nor is predicted has an F1 score of 0.
    /// </summary>
    internal static double F1(long[,] confusion)
    {
        var classes = confusion.GetLength(0);
        return classes == 2 ? Of(1) : Enumerable.Range(0, classes).Average(Of);

        double Of(int i)
        {
            var all = Enumerable.Range(0, classes).Sum(j => confusion[i, j] + confusion[j, i]);
            return all == 0 ? 0 : 2.0 * confusion[i, i] / all;
        }
    }

    /// <summary>
    /// Matthews correlation of predicted and correct classes, -1 to 1 (Gorodkin 2004 for more than two classes). It is 0 if one of them is constant.
    /// </summary>
    internal static double Matthews(long[,] confusion)
    {
        var classes = confusion.GetLength(0);
        double total = confusion.Cast<long>().Sum(), right = Enumerable.Range(0, classes).Sum(i => confusion[i, i]);
        var actual = Enumerable.Range(0, classes).Select(i => (double)Enumerable.Range(0, classes).Sum(j => confusion[i, j])).ToArray();
        var predicted = Enumerable.Range(0, classes).Select(i => (double)Enumerable.Range(0, classes).Sum(j => confusion[j, i])).ToArray();
        var product = ((total * total) - predicted.Sum(count => count * count)) * ((total * total) - actual.Sum(count => count * count));
        return product == 0 ? 0 : ((right * total) - actual.Zip(predicted, (a, p) => a * p).Sum()) / Math.Sqrt(product);
    }

    private static void Copy<T>(T[] values, int[] rows, Action<T, int> set)
    {
        for (var i = 0; i < rows.Length; i++)
        {
            set(values[i], rows[i]);
        }
    }
}
