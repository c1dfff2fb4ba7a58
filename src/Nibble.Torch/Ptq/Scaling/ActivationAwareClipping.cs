using Nibble.Algorithms;
using Nibble.Numerics;
using Nibble.Torch.Layers;
using Nibble.Torch.Models;
using Nibble.Torch.Native;
using static TorchSharp.torch;

namespace Nibble.Torch.Ptq.Scaling;

/// <summary>
/// Rounds to nearest with ranges that are reduced to minimize the error of the layer's output instead of its weight: the clipping search of AWQ (Lin et al.
/// 2023).
/// </summary>
internal static class ActivationAwareClipping
{
    private const int ShrinkSteps = 20;
    private const double ShrinkStep = 0.025;

    /// <summary>Quantizes a weight matrix.</summary>
    /// <remarks>
    /// Both ends of a group's range are multiplied by 1, 0.975, ... 0.5. A group's error is <c>d H d^T</c>, where d is its rounding errors and H holds the
    /// inputs' second moments for its columns. This is the squared error that the group causes separately from others. Of factors with equal errors, the
    /// largest is used.
    /// </remarks>
    /// <param name="weight">The weight, [out, in].</param>
    /// <param name="hessian">X^T X of the inputs, [in, in], times any constant.</param>
    /// <param name="scheme">The scheme, which defines the codes and which weights share a scale.</param>
    /// <exception cref="NibbleException">
    /// A weight is not finite, the granularity is per token, or a scale does not fit its stored precision.
    /// </exception>
    public static QuantizedTensor Quantize(Tensor weight, Tensor hessian, QuantizationScheme scheme)
    {
        using var guard = no_grad();
        using var scope = NewDisposeScope();
        var (rows, columns) = ((int)weight.shape[0], (int)weight.shape[1]);
        var values = Conversion.ValuesOf(weight);

        // Rejects weights that cannot be quantized and reports the row.
        var plain = RoundToNearest.Quantize(values, rows, columns, scheme);
        var groups = new WeightGroups(rows, columns, scheme.Granularity);
        var blocks = Blocks(hessian, plain.GroupsPerRow, plain.GroupLength);
        var split = groups.Split(weight.detach());
        var (low, high) = (split.amin([1], keepdim: true), split.amax([1], keepdim: true));
        using var pause = CollectorPause.Begin();
        var (scale, zeroPoint) = FakeQuantization.Parameters(low, high, scheme);
        var least = Errors(scale, zeroPoint);
        for (var i = 1; i <= ShrinkSteps; i++)
        {
            using var step = NewDisposeScope();
            var factor = 1 - (i * ShrinkStep);
            var (otherScale, otherZeroPoint) = FakeQuantization.Parameters(low.Times(factor), high.Times(factor), scheme);
            var errors = Errors(otherScale, otherZeroPoint);
            var better = errors < least;
            least.copy_(where(better, errors, least));
            scale.copy_(where(better, otherScale, scale));
            zeroPoint.copy_(where(better, otherZeroPoint, zeroPoint));
        }

        return RoundToNearest.QuantizeWith(
            values, rows, columns, scheme, Conversion.ValuesOf(scale),
            scheme.Symmetric ? [] : Array.ConvertAll(Conversion.ValuesOf(zeroPoint), value => (sbyte)value));

        // [groups, 1]
        Tensor Errors(Tensor scales, Tensor zeroPoints)
        {
            using var inner = NewDisposeScope();
            var difference = (FakeQuantization.Apply(split, scales, zeroPoints, scheme.Codes) - split).view(rows, plain.GroupsPerRow, -1).transpose(0, 1);
            var errors = (difference.matmul(blocks) * difference).sum(-1).t();
            return (scheme.Granularity is PerTensor ? errors.sum() : errors).reshape(-1, 1).MoveToOuterDisposeScope();
        }
    }

    /// <summary>The blocks on the diagonal, [groups, length, length]. An incomplete last block is padded with zeros.</summary>
    private static Tensor Blocks(Tensor hessian, int groups, int length)
    {
        var missing = (groups * length) - (int)hessian.shape[0];
        var padded = nn.functional.pad(hessian, (0, missing, 0, missing));
        return stack(Enumerable.Range(0, groups).Select(group => padded.narrow(0, group * length, length).narrow(1, group * length, length)));
    }
}
