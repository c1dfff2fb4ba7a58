using Nibble.Torch.Native;
using TorchSharp.Modules;
using static TorchSharp.torch;
using F = TorchSharp.torch.nn.functional;

namespace Nibble.Torch.Layers;

/// <summary>
/// A batch normalization that the preceding convolution computes. It passes its input on and keeps its parameters and statistics under their original names.
/// </summary>
/// <remarks>
/// If a module computes something between the two, or calls them in reverse order, its values would be wrong. Therefore the input must be the same tensor
/// object that the convolution returned.
/// </remarks>
internal sealed class FoldedBatchNorm : nn.Module<Tensor, Tensor>
{
    // TorchSharp registers parameters and buffers under the names of their fields.
    private readonly Parameter? weight;
    private readonly Parameter? bias;
    private readonly Tensor running_mean;
    private readonly Tensor running_var;
    private readonly Tensor num_batches_tracked;
    private readonly double epsilon;
    private readonly double? momentum;
    private readonly string path;
    private readonly string convolution;
    private readonly WeakReference<Tensor?> expected = new(null);

    /// <summary>Takes over a batch normalization.</summary>
    /// <param name="original">A batch normalization that tracks running statistics.</param>
    /// <param name="path">Its name, for messages.</param>
    /// <param name="convolution">The name of the convolution, for messages.</param>
    public FoldedBatchNorm(BatchNorm2d original, string path, string convolution)
        : base(nameof(FoldedBatchNorm))
    {
        this.path = path;
        this.convolution = convolution;
        weight = original.affine ? original.weight : null;
        bias = original.affine ? original.bias : null;
        running_mean = original.running_mean!;
        running_var = original.running_var!;
        num_batches_tracked = original.num_batches_tracked!;
        epsilon = original.eps;
        momentum = original.momentum;
        RegisterComponents();
    }

    /// <summary>Whether the running statistics are used and no longer updated, even in training.</summary>
    public bool Frozen { get; set; }

    /// <summary>Whether a batch is normalized with its own statistics.</summary>
    public bool UsesBatchStatistics => training && !Frozen;

    /// <summary>The factor of each output channel of the convolution, from the running statistics: [out].</summary>
    public Tensor Factor()
    {
        using var scope = NewDisposeScope();
        var inverse = running_var.Plus(epsilon).rsqrt();
        return (weight is null ? inverse : inverse * weight).MoveToOuterDisposeScope();
    }

    /// <summary>The bias that remains when the weight is multiplied by <see cref="Factor"/>: [out].</summary>
    /// <param name="convolutionBias">The convolution's own bias.</param>
    public Tensor Shift(Tensor? convolutionBias)
    {
        using var scope = NewDisposeScope();
        var centred = (convolutionBias is null ? -running_mean : convolutionBias - running_mean) * Factor();
        return (bias is null ? centred : centred.Plus(bias)).MoveToOuterDisposeScope();
    }

    /// <summary>Normalizes with the statistics of the batch, and updates the running statistics.</summary>
    /// <param name="values">[batch, out, height, width].</param>
    public Tensor Normalize(Tensor values)
    {
        using (no_grad())
        {
            num_batches_tracked.AddInPlace(1);
        }

        var share = momentum ?? 1d / num_batches_tracked.item<long>();
        return F.batch_norm(values, running_mean, running_var, weight, bias, training: true, momentum: share, eps: epsilon);
    }

    /// <summary>Records the output of the convolution.</summary>
    public void Expect(Tensor output) => expected.SetTarget(output);

    /// <inheritdoc/>
    public override Tensor forward(Tensor input)
    {
        if (!expected.TryGetTarget(out var output) || !ReferenceEquals(output, input))
        {
            throw new NibbleException(
                $"the batch normalization '{path}' was assumed to follow the convolution '{convolution}' directly, but its input is another tensor. Set "
                + $"{nameof(Qat.PrepareOptions)}.{nameof(Qat.PrepareOptions.FoldBatchNorms)} = false and name the right pairs in "
                + $"{nameof(Qat.PrepareOptions.BatchNorms)}");
        }

        expected.SetTarget(null);
        return input.alias();
    }
}
