using Nibble.Torch.Calibration;
using Nibble.Torch.Evaluation;
using Nibble.Torch.Layers;
using Nibble.Torch.Native;
using static TorchSharp.torch;

namespace Nibble.Torch.Ptq.Scaling;

/// <summary>Statistics of the inputs of a stage's layers, from one pass over the calibration windows.</summary>
/// <remarks>The tensors belong to the dispose scope in which this object is created.</remarks>
internal sealed class StageInputStatistics
{
    /// <summary>
    /// The approximate number of tokens in a sample. It is enough to distinguish exponents and needs little memory for any model.
    /// </summary>
    private const int SampleTokens = 4096;

    /// <summary>Runs a block on all calibration pieces up to a stage.</summary>
    /// <param name="stage">The stage.</param>
    /// <param name="inputs">The block's inputs.</param>
    /// <param name="sampled">Whether to collect a <see cref="Sample"/> instead of a <see cref="Hessian"/>.</param>
    /// <param name="device">The device of the block.</param>
    /// <param name="cancellation">Cancels between batches.</param>
    public StageInputStatistics(UnitStage stage, ActivationStream inputs, bool sampled, Device device, CancellationToken cancellation)
    {
        var width = stage.Linears[0].Value.InFeatures;
        var sum = zeros(width, float64, device);
        Min = zeros(width, device: device);
        Max = zeros(width, device: device);
        using var hessian = sampled ? null : new Hessian(width, device);
        var tokens = inputs.Tokens;
        var stride = Stride(tokens, inputs.Lengths.Max());
        var seen = 0L;
        var parts = new List<Tensor>();
        inputs.ForEach(
            device,
            (_, batch) =>
            {
                using var pass = TokenMask.Begin(batch.Mask);
                var x = TokenMask.Rows(stage.Trace(batch).Input);
                sum.AddInPlace(x.abs().sum(0, type: ScalarType.Float64));
                Min.copy_(minimum(Min, x.amin([0])));
                Max.copy_(maximum(Max, x.amax([0])));
                hessian?.Add(x);
                var start = (stride - (seen % stride)) % stride;
                seen += x.shape[0];
                if (sampled && start < x.shape[0])
                {
                    parts.Add(x.slice(0, start, x.shape[0], stride).clone().DetachFromDisposeScope());
                }
            },
            cancellation);
        MeanMagnitude = sum.DivideInPlace(tokens).to(float32);
        Hessian = hessian?.Sum.alias();
        Sample = sampled ? cat(parts) : null;
        parts.ForEach(part => part.Dispose());
    }

    /// <summary>Mean of |x|, [width].</summary>
    public Tensor MeanMagnitude { get; }

    /// <summary>The lowest values, at most 0, [width].</summary>
    public Tensor Min { get; }

    /// <summary>The highest values, at least 0, [width].</summary>
    public Tensor Max { get; }

    /// <summary>X^T X over all tokens, [width, width].</summary>
    public Tensor? Hessian { get; }

    /// <summary>Tokens from all windows at equal distances, [tokens, width].</summary>
    public Tensor? Sample { get; }

    /// <summary>Whether all statistics are finite.</summary>
    public bool IsFinite =>
        Overflow.IsFinite(MeanMagnitude) && Overflow.IsFinite(Min) && Overflow.IsFinite(Max) && (Hessian is null || Overflow.IsFinite(Hessian));

    /// <summary>
    /// The distance between sampled tokens. It has no common divisor with the windows' length, so that all positions are sampled equally.
    /// </summary>
    internal static long Stride(long tokens, int length)
    {
        var stride = Math.Max(1, (tokens + SampleTokens - 1) / SampleTokens);
        while (CommonDivisor(stride, length) > 1)
        {
            stride++;
        }

        return stride;
    }

    private static long CommonDivisor(long a, long b) => b == 0 ? a : CommonDivisor(b, a % b);
}
