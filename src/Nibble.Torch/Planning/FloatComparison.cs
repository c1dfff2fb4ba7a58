using Nibble.Numerics;
using Nibble.Torch.Data;
using Nibble.Torch.Evaluation;
using Nibble.Torch.Models;
using Nibble.Torch.Models.Llama;
using Nibble.Torch.Native;
using static TorchSharp.torch;

namespace Nibble.Torch.Planning;

/// <summary>How far a model is from the float model on the same windows of text.</summary>
/// <param name="Loss">Mean negative log-likelihood minus the float model's, nats per token.</param>
/// <param name="LossError">Standard error of <paramref name="Loss"/>, from how the difference varies between windows; 0 for a single window.</param>
/// <param name="Divergence">Mean Kullback-Leibler divergence from the float model's predictions, nats per token.</param>
/// <param name="DivergenceError">Standard error of <paramref name="Divergence"/>.</param>
public sealed record Distance(double Loss, double LossError, double Divergence, double DivergenceError);

/// <summary>Compares models with the float model, window by window, so that what makes a window hard for both cancels out.</summary>
internal sealed class FloatComparison : IDisposable
{
    /// <summary>Bytes of the float model's predictions up to which they are kept and not computed again.</summary>
    private const long MemoryLimit = 1L << 30;

    private readonly LlamaModel reference;
    private readonly TokenizedText text;
    private readonly int context;
    private readonly int windows;
    private readonly Tensor?[] kept;

    /// <param name="reference">The float model.</param>
    /// <param name="text">The text, of which all whole windows are looked at.</param>
    /// <param name="context">Tokens in a window; the predictions of its second half count, as in <see cref="Evaluator"/>.</param>
    public FloatComparison(LlamaModel reference, TokenizedText text, int context)
    {
        this.reference = reference;
        this.text = text;
        this.context = context;
        text.RequireWindow(context);
        windows = text.WindowCount(context);
        kept = new Tensor?[windows];
    }

    /// <summary>Measures a model.</summary>
    public Distance Measure(LlamaModel model, CancellationToken cancellation)
    {
        using var guard = no_grad();
        var (losses, divergences) = (new double[windows], new double[windows]);
        for (var i = 0; i < windows; i++)
        {
            cancellation.ThrowIfCancellationRequested();
            using var pause = CollectorPause.Begin();
            using var scope = NewDisposeScope();
            var first = context / 2;
            var ids = tensor(text.Window(i * context, context), 1, context);
            var targets = ids[0].narrow(0, first + 1, context - first - 1).unsqueeze(1);
            var expected = Expected(i, ids, first);
            var found = Evaluator.Score(model, ids, first);
            losses[i] = (expected - found).gather(1, targets).mean([0L], type: ScalarType.Float64).item<double>();
            divergences[i] = (expected.exp() * (expected - found)).sum(1).mean([0L], type: ScalarType.Float64).item<double>();
        }

        return new Distance(losses.Average(), StandardError(losses), divergences.Average(), StandardError(divergences));
    }

    /// <summary>Measures a model while one layer has other weights, and gives it its own back.</summary>
    /// <param name="model">The model.</param>
    /// <param name="layer">The name of a layer of it.</param>
    /// <param name="weight">The other weights.</param>
    /// <param name="cancellation">Stops between windows.</param>
    public Distance MeasureWith(LlamaModel model, string layer, QuantizedTensor weight, CancellationToken cancellation)
    {
        var parameter = model.Linears.First(linear => linear.Key == layer).Value.Weight;
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

    private Tensor Expected(int window, Tensor ids, int first)
    {
        if (kept[window] is { } known)
        {
            return known;
        }

        var computed = Evaluator.Score(reference, ids, first);
        if (computed.numel() * sizeof(float) * windows <= MemoryLimit)
        {
            kept[window] = computed.DetachFromDisposeScope();
        }

        return computed;
    }

    private static double StandardError(double[] values)
    {
        var mean = values.Average();
        return values.Length < 2 ? 0 : Math.Sqrt(values.Sum(value => (value - mean) * (value - mean)) / (values.Length - 1) / values.Length);
    }
}
