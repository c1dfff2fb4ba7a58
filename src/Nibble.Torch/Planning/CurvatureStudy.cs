using Nibble.Recipes;
using Nibble.Torch.Data;
using Nibble.Torch.Evaluation;
using Nibble.Torch.Models;
using Nibble.Torch.Native;
using Nibble.Torch.Ptq;
using Nibble.Torch.Tasks;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace Nibble.Torch.Planning;

/// <summary>
/// The predicted cost of quantizing one layer, from the curvature of the loss and the error of the weights, in nats per token.
/// </summary>
/// <param name="Layer">The layer.</param>
/// <param name="Change">The name of the recipe.</param>
/// <param name="Fisher">Half the sum of squared errors, each weighted by its entry on the diagonal of the Fisher information.</param>
/// <param name="HessianTrace">Half the mean of the Hessian's diagonal times the sum of squared errors (HAWQ-V2, Dong et al. 2020).</param>
internal sealed record CurvatureEstimate(string Layer, string Change, double Fisher, double HessianTrace);

/// <summary>Estimates sensitivities from gradients. This is cheaper than measuring each layer at each bit width.</summary>
/// <remarks>
/// The Fisher information is the empirical one: squared gradients of single windows, times their number of tokens. The Hessian's trace is Hutchinson's
/// estimate, <c>v^T H v</c> with random signs <c>v</c>. HAWQ-V2 computes <c>H v</c> with a second backward pass, which libtorch's fused attention does not
/// support on the CPU. Here it is the difference of two gradients, <c>(g(w + e v) - g(w - e v)) / 2e</c>, with signs for all layers at once. The contribution
/// of other layers to <c>v^T H v</c> has mean zero.
/// </remarks>
internal sealed class CurvatureStudy
{
    private const int Windows = 8;

    /// <summary>The number of texts that give about as much information as the windows.</summary>
    private const int Texts = 128;

    private const int Probes = 4;

    /// <summary>The step of the difference as a share of the weights' root mean square.</summary>
    private const double Step = 0.01;

    private readonly IQuantizableModel model;
    private readonly ITask task;
    private readonly Parameter[] weights;
    private readonly List<TrainingBatch> pieces;
    private readonly int[] predictions;
    private readonly IProgress<RunProgress>? progress;
    private readonly CancellationToken cancellation;
    private int done;

    /// <param name="model">A copy of the float model. It is unchanged afterwards.</param>
    /// <param name="layers">The layers to estimate.</param>
    /// <param name="data">Data whose first windows, or some of whose texts, are used for the gradients.</param>
    /// <param name="length">Tokens per window.</param>
    /// <param name="progress">Receives progress after each gradient.</param>
    /// <param name="cancellation">Cancels between gradients.</param>
    public CurvatureStudy(IQuantizableModel model, IReadOnlyList<string> layers, ITaskData data, int length, IProgress<RunProgress>? progress,
        CancellationToken cancellation)
    {
        this.model = model;
        task = ModelTasks.Of(model.Definition);
        var isText = data is TokenizedText;
        var count = Math.Min(isText ? Windows : Texts, data.CountPieces(length));
        pieces = [.. data.Take(0, count, length).Batches(1, length, seed: 1).InOrder(1)];
        predictions = [.. pieces.Select(_ => isText ? length : 1)];
        this.progress = progress;
        this.cancellation = cancellation;
        var linears = model.Linears().ToDictionary();
        weights = [.. layers.Select(layer => linears[layer].Weight)];
        foreach (var parameter in model.Module.parameters())
        {
            parameter.requires_grad = false;
        }

        Array.ForEach(weights, weight => weight.requires_grad = true);
    }

    /// <summary>Estimates every layer with every recipe.</summary>
    public IReadOnlyList<CurvatureEstimate> Run(IReadOnlyList<string> layers, IReadOnlyList<Recipe> recipes, TrialRounding rounded, long seed)
    {
        using var scope = NewDisposeScope();
        var fisher = Fisher();
        var traces = Traces(seed);
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
                var squares = (tensor(weight.Dequantize()).view(weights[i].shape) - weights[i]).Square();
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
    private Tensor[] Fisher()
    {
        var sums = Array.ConvertAll(weights, weight => zeros_like(weight).detach());
        for (var piece = 0; piece < pieces.Count; piece++)
        {
            using var scope = NewDisposeScope();
            foreach (var (sum, gradient) in sums.Zip(Gradients([piece])))
            {
                sum.AddProductInPlace(gradient, gradient, (double)predictions[piece] / pieces.Count);
            }
        }

        return sums;
    }

    /// <summary>The trace of each layer's block of the Hessian.</summary>
    private double[] Traces(long seed)
    {
        var traces = new double[weights.Length];
        using var generator = new Generator((ulong)seed);
        var scale = Step * Math.Sqrt(weights.Sum(weight => weight.Square().sum(ScalarType.Float64).item<double>()) / weights.Sum(weight => weight.numel()));
        for (var probe = 0; probe < Probes; probe++)
        {
            using var scope = NewDisposeScope();
            var signs = Array.ConvertAll(weights, weight => randint(0, 2, weight.shape, generator: generator).to(float32).Times(2).Minus(1));
            Move(signs, scale);
            var above = Gradients([.. Enumerable.Range(0, pieces.Count)]);
            Move(signs, -2 * scale);
            var below = Gradients([.. Enumerable.Range(0, pieces.Count)]);
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
            weight.AddInPlace(sign, step);
        }
    }

    /// <summary>The gradients of the mean loss of some windows, in the order of the layers.</summary>
    private Tensor[] Gradients(int[] chosen)
    {
        cancellation.ThrowIfCancellationRequested();
        using var pause = CollectorPause.Begin();
        using var scope = NewDisposeScope();
        var loss = zeros(1);
        foreach (var piece in chosen)
        {
            loss = loss.Plus(task.Loss(model.Compute(pieces[piece].Input), pieces[piece].Targets!).DividedBy(chosen.Length));
        }

        if (!Overflow.IsFinite(loss))
        {
            throw new NibbleException(
                "the float model's loss on the calibration text is NaN or infinite, so it has no curvature. Score it on the text to find out where this "
                + "starts");
        }

        var gradients = autograd.grad([loss], weights);
        progress?.Report(new RunProgress("gradients", ++done, pieces.Count + (2 * Probes)));
        return [.. gradients.Select(gradient => gradient.MoveToOuterDisposeScope())];
    }
}
