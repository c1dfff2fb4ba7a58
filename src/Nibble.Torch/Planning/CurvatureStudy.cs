using Nibble.Recipes;
using Nibble.Torch.Data;
using Nibble.Torch.Evaluation;
using Nibble.Torch.Models.Llama;
using Nibble.Torch.Native;
using Nibble.Torch.Ptq;
using TorchSharp.Modules;
using static TorchSharp.torch;
using F = TorchSharp.torch.nn.functional;

namespace Nibble.Torch.Planning;

/// <summary>What quantizing a layer alone should cost, from the curvature of the loss and the error of the weights; nats per token.</summary>
/// <param name="Layer">The layer.</param>
/// <param name="Change">The name of the recipe.</param>
/// <param name="Fisher">Half the squared errors, each weighted by its entry of the Fisher information's diagonal.</param>
/// <param name="HessianTrace">Half the mean of the Hessian's diagonal times the sum of squared errors (HAWQ-V2, Dong et al. 2020).</param>
public sealed record CurvatureEstimate(string Layer, string Change, double Fisher, double HessianTrace);

/// <summary>Estimates sensitivities from gradients: the cheap alternative to measuring each layer at each width.</summary>
/// <remarks>
/// The Fisher information is the empirical one: squared gradients of single windows, times their tokens. The Hessian's trace is Hutchinson's estimate,
/// <c>v^T H v</c> with random signs <c>v</c>. HAWQ-V2 finds <c>H v</c> by a second backward pass, which libtorch's fused attention lacks on the CPU; here it is the difference
/// of two gradients, <c>(g(w + e v) - g(w - e v)) / 2e</c>, with signs for all layers at once: what other layers add to <c>v^T H v</c> has mean zero.
/// </remarks>
internal sealed class CurvatureStudy
{
    private const int Windows = 8;
    private const int Probes = 4;

    /// <summary>The step of the difference, as a share of the weights' root mean square.</summary>
    private const double Step = 0.01;

    private readonly LlamaModel model;
    private readonly Parameter[] weights;
    private readonly TokenizedText text;
    private readonly int length;
    private readonly IProgress<RunProgress>? progress;
    private readonly CancellationToken cancellation;
    private int done;

    /// <param name="model">A copy of the float model; unchanged afterwards.</param>
    /// <param name="layers">The layers to estimate.</param>
    /// <param name="text">Text whose first windows give the gradients.</param>
    /// <param name="length">Tokens in a window.</param>
    /// <param name="progress">Told after each gradient.</param>
    /// <param name="cancellation">Stops between gradients.</param>
    public CurvatureStudy(LlamaModel model, IReadOnlyList<string> layers, TokenizedText text, int length, IProgress<RunProgress>? progress, CancellationToken cancellation)
    {
        this.model = model;
        this.text = text;
        this.length = length;
        this.progress = progress;
        this.cancellation = cancellation;
        var linears = model.Linears.ToDictionary();
        weights = [.. layers.Select(layer => linears[layer].Weight)];
        foreach (var parameter in model.parameters())
        {
            parameter.requires_grad = false;
        }

        Array.ForEach(weights, weight => weight.requires_grad = true);
    }

    /// <summary>Estimates every layer under every recipe.</summary>
    public IReadOnlyList<CurvatureEstimate> Run(IReadOnlyList<string> layers, IReadOnlyList<Recipe> recipes, TrialRounding rounded, long seed)
    {
        using var scope = NewDisposeScope();
        var count = Math.Min(Windows, text.WindowCount(length));
        var fisher = Fisher(count);
        var traces = Traces(count, seed);
        var estimates = new List<CurvatureEstimate>();
        for (var i = 0; i < layers.Count; i++)
        {
            foreach (var (number, recipe) in recipes.Index())
            {
                if (!rounded.Weights.TryGetValue((layers[i], number), out var weight))
                {
                    continue;
                }

                using var inner = NewDisposeScope();
                using var guard = no_grad();
                var squares = (tensor(weight.Dequantize()).view(weights[i].shape) - weights[i]).square();
                estimates.Add(new CurvatureEstimate(
                    layers[i],
                    recipe.Name,
                    (squares * fisher[i]).sum(ScalarType.Float64).item<double>() / 2,
                    squares.sum(ScalarType.Float64).item<double>() * traces[i] / weights[i].numel() / 2));
            }
        }

        return estimates;
    }

    /// <summary>The diagonal of each layer's Fisher information.</summary>
    private Tensor[] Fisher(int count)
    {
        var sums = Array.ConvertAll(weights, weight => zeros_like(weight).detach());
        for (var window = 0; window < count; window++)
        {
            using var scope = NewDisposeScope();
            foreach (var (sum, gradient) in sums.Zip(Gradients(window, 1, count + (2 * Probes))))
            {
                sum.addcmul_(gradient, gradient, value: (double)length / count);
            }
        }

        return sums;
    }

    /// <summary>The trace of each layer's block of the Hessian.</summary>
    private double[] Traces(int count, long seed)
    {
        var traces = new double[weights.Length];
        var generator = new Generator((ulong)seed);
        var scale = Step * Math.Sqrt(weights.Sum(weight => weight.square().sum(ScalarType.Float64).item<double>()) / weights.Sum(weight => weight.numel()));
        for (var probe = 0; probe < Probes; probe++)
        {
            using var scope = NewDisposeScope();
            var signs = Array.ConvertAll(weights, weight => (randint(0, 2, weight.shape, generator: generator).to(float32) * 2) - 1);
            Move(signs, scale);
            var above = Gradients(0, count, count + (2 * Probes));
            Move(signs, -2 * scale);
            var below = Gradients(0, count, count + (2 * Probes));
            Move(signs, scale);
            for (var i = 0; i < weights.Length; i++)
            {
                traces[i] += (signs[i] * (above[i] - below[i])).sum(ScalarType.Float64).item<double>() / (2 * scale * Probes);
            }
        }

        return traces;
    }

    private void Move(Tensor[] signs, double step)
    {
        using var guard = no_grad();
        foreach (var (weight, sign) in weights.Zip(signs))
        {
            weight.add_(sign, alpha: step);
        }
    }

    /// <summary>The gradients of the mean loss of some windows, in the order of the layers.</summary>
    private Tensor[] Gradients(int first, int count, int total)
    {
        cancellation.ThrowIfCancellationRequested();
        using var pause = CollectorPause.Begin();
        using var scope = NewDisposeScope();
        var ids = text.Batch([.. Enumerable.Range(first, count).Select(window => window * length)], length);
        var logits = model.forward(ids).narrow(1, 0, length - 1).flatten(0, 1);
        var loss = F.cross_entropy(logits, ids.narrow(1, 1, length - 1).flatten());
        if (!Overflow.IsFinite(loss))
        {
            throw new NibbleException(
                "the float model's loss on the calibration text is NaN or infinite, so that it has no curvature; score it on the text to learn where that "
                + "begins");
        }

        var gradients = autograd.grad([loss], weights);
        progress?.Report(new RunProgress("gradients", ++done, total));
        return [.. gradients.Select(gradient => gradient.MoveToOuterDisposeScope())];
    }
}
