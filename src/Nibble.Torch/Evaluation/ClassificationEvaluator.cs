using Nibble.Torch.Data;
using Nibble.Torch.Models.Bert;
using Nibble.Torch.Native;
using static TorchSharp.torch;

namespace Nibble.Torch.Evaluation;

/// <summary>How well a classifier classifies.</summary>
/// <param name="Accuracy">Share of the texts whose likeliest class is theirs, 0 to 1.</param>
/// <param name="Loss">Mean cross-entropy, nats per text.</param>
/// <param name="Count">Texts scored.</param>
public sealed record ClassificationResult(double Accuracy, double Loss, int Count);

/// <summary>Scores a classifier on labelled texts.</summary>
public static class ClassificationEvaluator
{
    private const int BatchSize = 64;

    /// <summary>Scores a classifier, without dropout.</summary>
    /// <param name="model">The classifier.</param>
    /// <param name="data">The texts.</param>
    /// <param name="progress">Told after each batch.</param>
    /// <param name="cancellation">Stops between batches.</param>
    /// <exception cref="NibbleException">The classifier computes NaN or infinite values.</exception>
    public static ClassificationResult Evaluate(BertClassifier model, ClassificationData data, IProgress<RunProgress>? progress = null, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(model);
        ArgumentNullException.ThrowIfNull(data);
        var training = model.training;
        model.eval();
        try
        {
            var (loss, right, done) = (0.0, 0L, 0);
            using var guard = no_grad();
            foreach (var indices in data.ByLength(BatchSize))
            {
                cancellation.ThrowIfCancellationRequested();
                using var pause = CollectorPause.Begin();
                using var scope = NewDisposeScope();
                var batch = data.Batch(indices);
                var logits = model.call(batch.Ids, batch.Mask);
                Overflow.Refuse(logits, model.Linears, () => model.call(batch.Ids, batch.Mask));
                loss += nn.functional.cross_entropy(logits, batch.Labels, reduction: nn.Reduction.Sum).item<float>();
                right += logits.argmax(1).eq(batch.Labels).sum().item<long>();
                done += indices.Length;
                progress?.Report(new RunProgress("evaluate", done, data.Count));
            }

            return new ClassificationResult((double)right / data.Count, loss / data.Count, data.Count);
        }
        finally
        {
            model.train(training);
        }
    }
}
