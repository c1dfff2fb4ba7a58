using Nibble.Numerics;
using Nibble.Torch.Data;
using Nibble.Torch.Evaluation;
using Nibble.Torch.Models;
using Nibble.Torch.Native;
using Nibble.Torch.Tasks;
using static TorchSharp.torch;

namespace Nibble.Torch.Planning;

/// <summary>The distance of a model from the float model on the same data.</summary>
/// <param name="Loss">
/// The mean loss minus the float model's, in nats per token or per text. For vectors, 1 minus the mean cosine with the float model's.
/// </param>
/// <param name="LossError">
/// The standard error of <paramref name="Loss"/>, from the variation of the difference between windows or texts. 0 for a single one.
/// </param>
/// <param name="Divergence">The mean divergence from the float model's predictions (<see cref="TaskScore.Divergence"/>).</param>
/// <param name="DivergenceError">The standard error of <paramref name="Divergence"/>.</param>
internal sealed record Distance(double Loss, double LossError, double Divergence, double DivergenceError);

/// <summary>Compares models with the float model piece by piece, so that differences in difficulty between pieces cancel out.</summary>
internal abstract class FloatComparison : IDisposable
{
    /// <summary>The maximum size in bytes of float predictions to keep. Larger predictions are computed again.</summary>
    private const long MemoryLimit = 1L << 30;

    private readonly IQuantizableModel reference;
    private readonly Tensor?[] kept;

    private FloatComparison(IQuantizableModel reference, int pieces)
    {
        this.reference = reference;
        kept = new Tensor?[pieces];
    }

    /// <summary>Creates a comparison.</summary>
    /// <param name="reference">The float model.</param>
    /// <param name="data">Data of the model's task. All complete windows, or all texts, are used.</param>
    /// <param name="context">Tokens per window. As in <see cref="Evaluator"/>, only the predictions in its second half count.</param>
    public static FloatComparison Create(IQuantizableModel reference, ITaskData data, int context) =>
        data is TokenizedText text ? new OfWindows(reference, text, context) : new OfTexts(reference, (TextData)data);

    /// <summary>Measures a model.</summary>
    public Distance Measure(IQuantizableModel model, CancellationToken cancellation)
    {
        var training = model.Module.training;
        model.Module.eval();
        try
        {
            using var guard = no_grad();
            var (losses, divergences) = (new List<double>(), new List<double>());
            for (var i = 0; i < kept.Length; i++)
            {
                cancellation.ThrowIfCancellationRequested();
                using var pause = CollectorPause.Begin();
                using var scope = NewDisposeScope();
                Compare(i, model, losses, divergences);
            }

            return new Distance(losses.Average(), StandardError(losses), divergences.Average(), StandardError(divergences));
        }
        finally
        {
            model.Module.train(training);
        }
    }

    /// <summary>Measures a model while one layer has other weights, then restores the layer.</summary>
    /// <param name="model">The model.</param>
    /// <param name="layer">The name of the layer.</param>
    /// <param name="weight">The other weights.</param>
    /// <param name="cancellation">Cancels between pieces.</param>
    public Distance MeasureWith(IQuantizableModel model, string layer, QuantizedTensor weight, CancellationToken cancellation)
    {
        var parameter = model.Layers.First(other => other.Key == layer).Value.Weight;
        var before = Conversion.ValuesOf(parameter);
        Conversion.CopyInto(parameter, weight.Dequantize());
        try
        {
            return Measure(model, cancellation);
        }
        finally
        {
            Conversion.CopyInto(parameter, before);
        }
    }

    /// <inheritdoc/>
    public void Dispose() => Array.ForEach(kept, tensor => tensor?.Dispose());

    /// <summary>Compares the models on one piece and adds the results.</summary>
    protected abstract void Compare(int piece, IQuantizableModel model, List<double> losses, List<double> divergences);

    /// <summary>The float model's output for a piece.</summary>
    protected Tensor Expected(int piece, Func<IQuantizableModel, Tensor> compute)
    {
        if (kept[piece] is { } known)
        {
            return known;
        }

        var computed = compute(reference);
        if (computed.numel() * sizeof(float) * kept.Length <= MemoryLimit)
        {
            kept[piece] = computed.DetachFromDisposeScope();
        }

        return computed;
    }

    private static double StandardError(List<double> values)
    {
        var mean = values.Average();
        return values.Count < 2 ? 0 : Math.Sqrt(values.Sum(value => (value - mean) * (value - mean)) / (values.Count - 1) / values.Count);
    }

    private sealed class OfWindows(IQuantizableModel reference, TokenizedText text, int context)
        : FloatComparison(reference, Require(text, context))
    {
        protected override void Compare(int piece, IQuantizableModel model, List<double> losses, List<double> divergences)
        {
            var first = context / 2;
            var ids = tensor(text.Window(piece * context, context), 1, context);
            var targets = ids[0].narrow(0, first + 1, context - first - 1).unsqueeze(1);
            var expected = Expected(piece, own => Evaluator.Score((IDecoder)own, ids, first));
            var found = Evaluator.Score((IDecoder)model, ids, first);
            losses.Add((expected - found).gather(1, targets).mean([0L], type: ScalarType.Float64).item<double>());
            divergences.Add((expected.exp() * (expected - found)).sum(1).mean([0L], type: ScalarType.Float64).item<double>());
        }

        private static int Require(TokenizedText text, int context)
        {
            text.RequireWindow(context);
            return text.WindowCount(context);
        }
    }

    private sealed class OfTexts : FloatComparison
    {
        private const int BatchSize = 64;

        private readonly TextData texts;
        private readonly ITask task;
        private readonly int[][] batches;

        public OfTexts(IQuantizableModel reference, TextData texts)
            : this(reference, texts, [.. Enumerable.Range(0, texts.Sequences.Count).OrderBy(row => texts.Sequences[row].Ids.Length).Chunk(BatchSize)])
        {
        }

        private OfTexts(IQuantizableModel reference, TextData texts, int[][] batches)
            : base(reference, batches.Length)
        {
            (this.texts, this.batches) = (texts, batches);
            task = ModelTasks.Of(reference.Definition);
        }

        protected override void Compare(int piece, IQuantizableModel model, List<double> losses, List<double> divergences)
        {
            var rows = batches[piece];
            var batch = texts.Batch(rows);
            var expected = Expected(piece, own => own.Compute(batch));
            var found = model.Compute(batch);
            Overflow.Refuse(found, model.Linears(), () => model.Compute(batch));
            var targets = texts.Targets?.Count == texts.Sequences.Count ? texts.TargetsOf(rows) : null;
            for (var i = 0; i < rows.Length; i++)
            {
                using var scope = NewDisposeScope();
                var (own, other) = (found.narrow(0, i, 1), expected.narrow(0, i, 1));
                var divergence = task.Divergence(own, other, 1).item<float>();
                divergences.Add(divergence);
                losses.Add(targets is null ? divergence
                    : task.Loss(own, targets.narrow(0, i, 1)).item<float>() - task.Loss(other, targets.narrow(0, i, 1)).item<float>());
            }
        }
    }
}
