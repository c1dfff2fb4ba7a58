using Nibble.Onnx.Engine;
using Nibble.Torch;
using Nibble.Torch.Data;
using Nibble.Torch.Models.Bert;
using Nibble.Torch.Native;
using static TorchSharp.torch;

namespace Nibble.Cli.Engines;

/// <summary>How an engine's classes differ from the simulation's.</summary>
/// <param name="Texts">Texts classified.</param>
/// <param name="SimulatedAccuracy">Share of the texts that the simulation classifies rightly.</param>
/// <param name="EngineAccuracy">Share of the texts that the engine classifies rightly.</param>
/// <param name="SimulatedLoss">Mean cross-entropy of the simulation, nats a text.</param>
/// <param name="EngineLoss">Mean cross-entropy of the engine.</param>
/// <param name="LargestDifference">The largest difference between two logits.</param>
/// <param name="Agreement">Share of the texts where both hold the same class likeliest.</param>
/// <param name="OwnDifference"><paramref name="LargestDifference"/> of the simulation from itself, each text by itself, over the first batches: what rounding alone does to this model.</param>
internal sealed record ClassifierDifference(
    int Texts, double SimulatedAccuracy, double EngineAccuracy, double SimulatedLoss, double EngineLoss, double LargestDifference, double Agreement, double OwnDifference)
{
    /// <summary>What differs but for ties between codes of inputs; null where no inputs are quantized.</summary>
    public TieDifference? Ties { get; init; }

    /// <summary>The largest difference of logits that summing in another order explains.</summary>
    public double RoundingLimit => EngineDifference.LimitOfSums(OwnDifference);

    /// <summary>Whether accuracy, in percent of the texts, and loss, in percent of the simulated one, differ by at most so much.</summary>
    public bool IsWithin(double percent) =>
        Math.Abs(EngineAccuracy - SimulatedAccuracy) * 100 <= percent && Math.Abs((EngineLoss / SimulatedLoss) - 1) * 100 <= percent;
}

/// <summary>Classifies the same texts by an engine and by the simulation.</summary>
internal static class ClassifierComparison
{
    private const int BatchSize = 64;
    private const int OwnBatches = 4;

    /// <summary>Compares labelled texts.</summary>
    /// <param name="model">The model as Nibble simulates it.</param>
    /// <param name="engine">The same model in the engine.</param>
    /// <param name="ties">Decides ties as in the engine; null for no such comparison.</param>
    /// <param name="data">The texts.</param>
    /// <param name="texts">Texts to classify at most; null for all.</param>
    /// <param name="progress">Told after each batch.</param>
    /// <param name="cancellation">Stops between batches.</param>
    /// <exception cref="NibbleException">The engine sees other classes.</exception>
    public static ClassifierDifference Run(LoadedClassifier model, OnnxRuntimeClassifier engine, ClassifierTies? ties, ClassificationData data, int? texts, IProgress<RunProgress>? progress, CancellationToken cancellation)
    {
        if (engine.Labels != model.Model.Config.Labels)
        {
            throw new NibbleException($"the engine sees {engine.Labels} classes, expected the model's {model.Model.Config.Labels}");
        }

        var count = Math.Min(data.Count, texts ?? int.MaxValue);
        double simulatedLoss = 0, engineLoss = 0, largest = 0, own = 0;
        long simulatedRight = 0, engineRight = 0, agreements = 0;
        var (done, batches) = (0, 0);
        using var guard = no_grad();
        foreach (var indices in Enumerable.Range(0, count).OrderBy(index => data.Sequences[index].Length).Chunk(BatchSize))
        {
            cancellation.ThrowIfCancellationRequested();
            using var pause = CollectorPause.Begin();
            using var scope = NewDisposeScope();
            var batch = data.Batch(indices);
            var ours = model.Model.call(batch.Ids, batch.Mask);
            var theirs = tensor(engine.Classify(batch.Ids.data<long>().ToArray(), batch.Mask.to(int64).data<long>().ToArray(), (int)batch.Ids.shape[1]), ours.shape);
            simulatedLoss += Loss(ours, batch.Labels);
            engineLoss += Loss(theirs, batch.Labels);
            simulatedRight += Same(ours.argmax(1), batch.Labels);
            engineRight += Same(theirs.argmax(1), batch.Labels);
            agreements += Same(ours.argmax(1), theirs.argmax(1));
            largest = Math.Max(largest, Difference(ours, theirs));
            ties?.Add(batch.Ids, batch.Mask, theirs);
            own = batches++ < OwnBatches ? Math.Max(own, Difference(ours, OneByOne(model.Model, data, indices))) : own;
            done += indices.Length;
            progress?.Report(new RunProgress("compare", done, count));
        }

        return new ClassifierDifference(
            count, (double)simulatedRight / count, (double)engineRight / count, simulatedLoss / count, engineLoss / count, largest, (double)agreements / count, own)
        {
            Ties = ties?.Difference,
        };
    }

    private static Tensor OneByOne(BertClassifier model, ClassificationData data, int[] indices) => cat([.. indices.Select(index =>
    {
        var text = data.Batch([index]);
        return model.call(text.Ids, text.Mask);
    })]);

    private static double Loss(Tensor logits, Tensor labels) => nn.functional.cross_entropy(logits, labels, reduction: nn.Reduction.Sum).item<float>();

    private static long Same(Tensor left, Tensor right) => left.eq(right).sum().item<long>();

    // NaN is within no tolerance.
    private static double Difference(Tensor left, Tensor right) => (left - right).abs().max().item<float>() is var largest && float.IsNaN(largest) ? double.PositiveInfinity : largest;
}
