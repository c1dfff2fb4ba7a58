using TorchSharp.Modules;
using static TorchSharp.torch;
using F = TorchSharp.torch.nn.functional;

namespace Nibble.Torch.Layers;

/// <summary>A batch normalization that is computed by the convolution before it: it passes on what it is given, and holds parameters and statistics under their
/// old names.</summary>
/// <remarks>
/// A module that computes something between the two, or calls them the other way round, would get wrong values, so the input must be the very tensor that
/// the convolution yielded.
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

    /// <summary>Takes a batch normalization over.</summary>
    /// <param name="original">One that is tracking running statistics.</param>
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

    /// <summary>Whether the running statistics are used and kept in training too.</summary>
    public bool Frozen { get; set; }

    /// <summary>Whether a batch is normalized by its own statistics.</summary>
    public bool UsesBatchStatistics => training && !Frozen;

    /// <summary>What each output channel of the convolution is multiplied by, by the running statistics: [out].</summary>
    public Tensor Factor()
    {
        using var scope = NewDisposeScope();
        var inverse = (running_var + epsilon).rsqrt();
        return (weight is null ? inverse : inverse * weight).MoveToOuterDisposeScope();
    }

    /// <summary>The bias that is left when the weight is multiplied by <see cref="Factor"/>: [out].</summary>
    /// <param name="convolutionBias">The convolution's own.</param>
    public Tensor Shift(Tensor? convolutionBias)
    {
        using var scope = NewDisposeScope();
        var centred = (convolutionBias is null ? -running_mean : convolutionBias - running_mean) * Factor();
        return (bias is null ? centred : centred + bias).MoveToOuterDisposeScope();
    }

    /// <summary>Normalizes by the statistics of the batch, and takes them into the running ones.</summary>
    /// <param name="values">[batch, out, height, width].</param>
    public Tensor Normalize(Tensor values)
    {
        using (no_grad())
        {
            num_batches_tracked.add_(1);
        }

        var share = momentum ?? 1d / num_batches_tracked.item<long>();
        return F.batch_norm(values, running_mean, running_var, weight, bias, training: true, momentum: share, eps: epsilon);
    }

    /// <summary>Notes what the convolution yielded.</summary>
    public void Expect(Tensor output) => expected.SetTarget(output);

    /// <inheritdoc/>
    public override Tensor forward(Tensor input)
    {
        if (!expected.TryGetTarget(out var output) || !ReferenceEquals(output, input))
        {
            throw new NibbleException(
                $"the batch normalization '{path}' was taken to follow the convolution '{convolution}' directly, but its input is not what that yields; leave "
                + $"the pair out with {nameof(Qat.PrepareOptions)}.{nameof(Qat.PrepareOptions.FoldBatchNorms)} = false and name the right pairs in "
                + $"{nameof(Qat.PrepareOptions.BatchNorms)}");
        }

        expected.SetTarget(null);
        return input.alias();
    }
}
