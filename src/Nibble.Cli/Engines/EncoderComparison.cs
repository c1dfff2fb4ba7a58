using Nibble.Torch.Data;
using Nibble.Models;
using Nibble.Onnx.Engine;
using Nibble.Torch.Layers;
using Nibble.Torch.Models;
using Nibble.Torch.Tasks;
using static TorchSharp.torch;

namespace Nibble.Cli.Engines;

/// <summary>How an engine's classes or vectors differ from those of the simulation.</summary>
/// <param name="Simulated">The scores of the simulation.</param>
/// <param name="Engine">The scores of the engine, with the agreement of its answers with the simulation's.</param>
/// <param name="LargestDifference">The largest difference between two values.</param>
/// <param name="OwnDifference"><paramref name="LargestDifference"/> between the simulation in batches and text by text, on the first batches: the effect of
/// rounding on this model.</param>
internal sealed record EncoderDifference(TaskScore Simulated, TaskScore Engine, double LargestDifference, double OwnDifference)
{
    /// <summary>The differences that remain once ties between input codes are decided as in the engine; null if no inputs are quantized.</summary>
    public TieDifference? Ties { get; init; }

    /// <summary>The largest difference of values that a different order of sums explains.</summary>
    public double RoundingLimit => EngineDifference.LimitOfSums(OwnDifference);

    /// <summary>Whether the main metric, in points (hundredths), and the loss, in percent of the simulated one, differ by at most this much.</summary>
    public bool IsWithin(double percent) =>
        Math.Abs(Engine.Main.Value - Simulated.Main.Value) * 100 <= percent
        && (Simulated.Loss is not { } loss || Math.Abs((Engine.Loss!.Value / loss) - 1) * 100 <= percent);
}

/// <summary>Computes the same texts with an engine and with the simulation.</summary>
internal static class EncoderComparison
{
    /// <summary>Compares the engine with the simulation.</summary>
    /// <param name="model">The model as Nibble simulates it.</param>
    /// <param name="engine">The same model in the engine.</param>
    /// <param name="ties">Decides ties as in the engine; null to skip that comparison.</param>
    /// <param name="data">The texts.</param>
    /// <param name="count">Most texts or pairs; null for all.</param>
    /// <param name="progress">Takes a report after each batch.</param>
    /// <param name="cancellation">Stops between batches.</param>
    /// <exception cref="NibbleException">The engine returns a different number of values.</exception>
    public static EncoderDifference Run(
        LoadedModel model, OnnxRuntimeEncoder engine, EncoderTies? ties, ITaskData data, int? count, IProgress<RunProgress>? progress,
        CancellationToken cancellation)
    {
        var task = ModelTasks.Of(model.Definition);
        using var simulated = new RecordedModel(model.Model);
        var running = new EngineModel(simulated, engine, ties);
        var theirs = task.Evaluate(running, data, new ScoreOptions { Count = count, Reference = simulated }, progress, cancellation);
        simulated.Rewind();
        var ours = task.Evaluate(simulated, data, new ScoreOptions { Count = count }, progress: null, cancellation);
        return new EncoderDifference(ours, theirs, running.LargestDifference, running.OwnDifference) { Ties = ties?.Difference };
    }

    /// <summary>A model in the place of another one.</summary>
    private abstract class StandIn(IQuantizableModel model) : IQuantizableModel
    {
        /// <summary>The model itself.</summary>
        public IQuantizableModel Original => model;

        public ModelDefinition Definition => model.Definition;

        public nn.Module Module => model.Module;

        public IReadOnlyList<IQuantizableBlock> Blocks => [];

        public IReadOnlyList<KeyValuePair<string, IQuantizableLayer>> Layers => [];

        public bool Recompute { get; set; }

        public void Initialize(Generator generator, Func<string, bool>? drawn = null) => throw new NotSupportedException();

        public abstract Tensor Compute(ModelBatch batch, IList<Tensor>? blocks = null);

        public virtual void Dispose()
        {
            // The model is the caller's.
        }
    }

    /// <summary>The simulation, which computes every batch once: for the engine, as the reference, and for its own score.</summary>
    private sealed class RecordedModel(IQuantizableModel model) : StandIn(model)
    {
        private readonly List<Tensor> outputs = [];
        private ModelBatch? last;
        private int? next;

        /// <summary>From now on, the recorded outputs are given again, in their order.</summary>
        public void Rewind() => next = 0;

        public override Tensor Compute(ModelBatch batch, IList<Tensor>? blocks = null)
        {
            if (next is { } index)
            {
                next++;
                return outputs[index].clone();
            }

            if (!ReferenceEquals(batch, last))
            {
                outputs.Add(Original.Compute(batch).clone().DetachFromDisposeScope());
                last = batch;
            }

            return outputs[^1].clone();
        }

        public override void Dispose()
        {
            outputs.ForEach(output => output.Dispose());
            base.Dispose();
        }
    }

    /// <summary>An engine in place of a model.</summary>
    private sealed class EngineModel(RecordedModel simulated, OnnxRuntimeEncoder engine, EncoderTies? ties) : StandIn(simulated)
    {
        private const int OwnBatches = 4;

        private int batches;

        public double LargestDifference { get; private set; }

        public double OwnDifference { get; private set; }

        public override Tensor Compute(ModelBatch batch, IList<Tensor>? blocks = null)
        {
            var ours = simulated.Compute(batch);
            if (engine.Width != ours.shape[1])
            {
                throw new NibbleException($"the engine returns {engine.Width} values per text, expected {ours.shape[1]} as the model has");
            }

            var (ids, mask, types) = Inputs(batch);
            var theirs = tensor(engine.Compute(ids, mask, (int)batch.Ids.shape[1], types), ours.shape);
            LargestDifference = Math.Max(LargestDifference, Difference(ours, theirs));
            ties?.Add(batch, theirs);
            if (batches++ < OwnBatches)
            {
                OwnDifference = Math.Max(OwnDifference, Difference(ours, OneByOne(batch)));
            }

            return theirs;
        }

        private Tensor OneByOne(ModelBatch batch) => cat([.. Enumerable.Range(0, (int)batch.Ids.shape[0]).Select(row =>
        {
            var length = batch.Mask is { } mask ? mask[row].sum().item<long>() : batch.Ids.shape[1];
            Tensor Cut(Tensor values) => values.narrow(0, row, 1).narrow(1, 0, length);
            return simulated.Original.Compute(new ModelBatch(Cut(batch.Ids), null, batch.Types is { } types ? Cut(types) : null));
        })]);

        // NaN is never within tolerance.
        private static double Difference(Tensor left, Tensor right) =>
            (left - right).abs().max().item<float>() is var largest && float.IsNaN(largest) ? double.PositiveInfinity : largest;
    }

    /// <summary>A batch in the form of an engine's inputs: ids, mask and types, row by row.</summary>
    public static (long[] Ids, long[] Mask, long[]? Types) Inputs(ModelBatch batch)
    {
        var ids = batch.Ids.data<long>().ToArray();
        return (ids, batch.Mask?.to(int64).data<long>().ToArray() ?? [.. Enumerable.Repeat(1L, ids.Length)], batch.Types?.data<long>().ToArray());
    }
}
