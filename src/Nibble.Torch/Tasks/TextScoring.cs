using Nibble.Torch.Data;
using Nibble.Torch.Evaluation;
using Nibble.Torch.Models;
using Nibble.Torch.Native;
using static TorchSharp.torch;

namespace Nibble.Torch.Tasks;

/// <summary>Runs models on texts. Texts of similar length share a batch.</summary>
internal static class TextScoring
{
    private const int BatchSize = 64;

    /// <summary>Runs a model, and optionally a reference, on the first texts of some data.</summary>
    /// <param name="model">The model. It is switched to evaluation mode during the call.</param>
    /// <param name="texts">The data.</param>
    /// <param name="count">The number of texts.</param>
    /// <param name="reference">The float model to compare with. Null for no comparison.</param>
    /// <param name="visit">Receives the indices of some texts and the outputs of both models for them.</param>
    /// <param name="progress">Receives progress after each batch.</param>
    /// <param name="cancellation">Cancels between batches.</param>
    /// <exception cref="NibbleException">A model computes NaN or infinite values.</exception>
    public static void ForEach(
        IQuantizableModel model, TextData texts, int count, IQuantizableModel? reference, Action<int[], Tensor, Tensor?> visit,
        IProgress<RunProgress>? progress,
        CancellationToken cancellation)
    {
        var modes = new[] { model, reference }.OfType<IQuantizableModel>().Select(one => (one.Module, one.Module.training)).ToList();
        modes.ForEach(mode => mode.Module.eval());
        try
        {
            var done = 0;
            using var guard = no_grad();
            foreach (var rows in Enumerable.Range(0, count).OrderBy(row => texts.Sequences[row].Ids.Length).Chunk(BatchSize))
            {
                cancellation.ThrowIfCancellationRequested();
                using var pause = CollectorPause.Begin();
                using var scope = NewDisposeScope();
                var batch = texts.Batch(rows);
                visit(rows, Compute(model, batch), reference is null ? null : Compute(reference, batch));
                done += rows.Length;
                progress?.Report(new RunProgress("evaluate", done, count));
            }
        }
        finally
        {
            modes.ForEach(mode => mode.Module.train(mode.training));
        }
    }

    private static Tensor Compute(IQuantizableModel model, ModelBatch batch)
    {
        var output = model.Compute(batch);
        Overflow.Refuse(output, model.Linears(), () => model.Compute(batch));
        return output;
    }
}
