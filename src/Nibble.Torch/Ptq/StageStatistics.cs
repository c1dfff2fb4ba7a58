using Nibble.Algorithms;
using Nibble.Recipes;
using Nibble.Torch.Models;
using Nibble.Torch.Native;
using static TorchSharp.torch;

namespace Nibble.Torch.Ptq;

/// <summary>The statistics of a stage that rounding needs.</summary>
[Flags]
internal enum StageNeeds
{
    None = 0,

    /// <summary>The mean of each input channel.</summary>
    Mean = 1,

    /// <summary>The mean square of each input channel.</summary>
    Importance = 2,

    /// <summary>The second moments of all pairs of input channels.</summary>
    Hessian = 4,

    /// <summary>The differences of inputs and residual stream from the float model's, multiplied by the inputs.</summary>
    Difference = 8,
}

/// <summary>Statistics of the inputs of a stage's layers, accumulated over the calibration tokens. The results are means.</summary>
internal sealed class StageStatistics(StageNeeds needs) : IDisposable
{
    private Tensor? sum;
    private Tensor? squares;
    private Hessian? hessian;
    private Tensor? differences;
    private Tensor? residuals;
    private long tokens;

    /// <summary>Adds tokens.</summary>
    /// <param name="x">The layers' inputs after quantized layers, [tokens, in].</param>
    /// <param name="floatX">The layers' inputs in the float model. Used only if differences are needed.</param>
    /// <param name="residual">
    /// The residual stream that their output is added to, minus the float model's, [tokens, out]. Null if there is none.
    /// </param>
    public void Add(Tensor x, Tensor? floatX, Tensor? residual)
    {
        using var scope = NewDisposeScope();
        tokens += x.shape[0];
        if (needs.HasFlag(StageNeeds.Mean))
        {
            Accumulate(ref sum, x.sum([0L]));
        }

        if (needs.HasFlag(StageNeeds.Importance))
        {
            Accumulate(ref squares, (x * x).sum([0L]));
        }

        if (needs.HasFlag(StageNeeds.Hessian))
        {
            hessian ??= new Hessian((int)x.shape[1], x.device);
            hessian.Add(x);
        }

        if (needs.HasFlag(StageNeeds.Difference))
        {
            Accumulate(ref differences, floatX! - x, x);
            if (residual is not null)
            {
                Accumulate(ref residuals, residual, x);
            }
        }
    }

    /// <summary>The mean of each channel, [in].</summary>
    public Tensor Mean() => sum!.DividedBy((double)tokens);

    /// <summary>The mean square of each channel, which weights the errors of its weights.</summary>
    public float[] Importance()
    {
        using var scope = NewDisposeScope();
        return Conversion.ValuesOf(squares!.DividedBy((double)tokens));
    }

    /// <summary>The second moments of the inputs, <c>X^T X / tokens</c>, [in, in].</summary>
    public Tensor Moments() => hessian!.Sum.DividedBy((double)tokens);

    /// <summary>The factorization that GPTQ needs.</summary>
    /// <param name="settings">Dampening and order.</param>
    /// <param name="last">
    /// Whether nothing else needs the sums. They are as large as the working memory of the factorization and are then released before it.
    /// </param>
    public HessianFactor Factor(PtqSettings settings, bool last)
    {
        var matrix = hessian!.Matrix();
        if (last)
        {
            hessian.Dispose();
            hessian = null;
        }

        return HessianFactor.Create(matrix, settings.ActivationOrder != ActivationOrder.None, settings.Dampening, get_num_threads());
    }

    /// <summary>
    /// The weight whose outputs on the actual inputs are closest to the outputs of the float model on its own inputs (GPTAQ, Li et al. 2025).
    /// </summary>
    /// <remarks>
    /// This is the W' that minimizes <c>|X W'^T - (Xf W^T + Rf - R)|^2</c>. X and Xf are the inputs after quantized layers and in the float model. R and Rf are
    /// the residual streams that the outputs are added to. The solution is <c>W' = W + G (H + dI)^-1</c> with
    /// <c>G = (W (Xf - X)^T + (Rf - R)^T) X / tokens</c>. Rounding W' with GPTQ then minimizes the same error over the grid, because both parts are orthogonal
    /// under H. Only a share of the step is taken, because the estimate from calibration data is noisy.
    /// </remarks>
    /// <param name="weight">The float weight W, [out, in].</param>
    /// <param name="settings">The dampening d, as a share of the mean diagonal, and the share of the step.</param>
    public Tensor TowardsFloat(Tensor weight, PtqSettings settings)
    {
        using var guard = no_grad();
        using var scope = NewDisposeScope();
        var moments = Moments();
        var damping = moments.diagonal().mean().Times(settings.Dampening);
        moments.diagonal().AddInPlace(damping.Plus(moments.diagonal().EqualTo(0).to(moments.dtype)));
        var gradient = weight.matmul(differences!.DividedBy((double)tokens));
        if (residuals is not null)
        {
            gradient = gradient.Plus(residuals.DividedBy((double)tokens));
        }

        var step = SymmetricSolver.Solve(moments, gradient.t()).t();
        return weight.Plus(step.Times(settings.Asymmetry)).MoveToOuterDisposeScope();
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        sum?.Dispose();
        squares?.Dispose();
        hessian?.Dispose();
        differences?.Dispose();
        residuals?.Dispose();
    }

    private static void Accumulate(ref Tensor? total, Tensor part)
    {
        total ??= zeros_like(part).DetachFromDisposeScope();
        total.AddInPlace(part);
    }

    /// <summary>Adds left^T right in place, because the matrices may be the largest of the run.</summary>
    private static void Accumulate(ref Tensor? total, Tensor left, Tensor right)
    {
        total ??= zeros(left.shape[1], right.shape[1], device: left.device).DetachFromDisposeScope();
        total.addmm_(left.t(), right);
    }
}
