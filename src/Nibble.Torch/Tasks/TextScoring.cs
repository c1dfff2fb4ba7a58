using Nibble.Torch.Data;
using Nibble.Torch.Evaluation;
using Nibble.Torch.Models;
using Nibble.Torch.Native;
using static TorchSharp.torch;

namespace Nibble.Torch.Tasks;

/// <summary>Runs models on texts, those of like length together.</summary>
internal static class TextScoring
{
    private const int BatchSize = 64;

    /// <summary>Runs a model on the first texts of some data, and a reference beside it.</summary>
    /// <param name="model">The model, which is in evaluation mode meanwhile.</param>
    /// <param name="texts">The data.</param>
    /// <param name="count">How many texts.</param>
    /// <param name="reference">The float model; null for none.</param>
    /// <param name="visit">Is given the numbers of some texts, and what both models compute of them.</param>
    /// <param name="progress">Told after each batch.</param>
    /// <param name="cancellation">Stops between batches.</param>
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
