using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;
using F = TorchSharp.torch.nn.functional;

namespace Nibble.Torch.Layers;

/// <summary>A convolution over two axes whose weight and input can be quantized, and which can compute the batch normalization behind it (Jacob et al. 2018,
/// section 3.2).</summary>
/// <remarks>
/// With a batch normalization folded in, the weight is multiplied by <c>gamma / sigma</c> of the running statistics before it is quantized, so that the codes
/// do not jitter with the batches. In training the output is divided by that factor again and normalized by the statistics of the batch (Krishnamoorthi 2018,
/// section 3.2.2, with statistics of the quantized convolution instead of a second one in float), until the statistics are frozen. In evaluation, and once
/// they are frozen, it is one convolution with the folded weight and bias, exactly what is converted.
/// </remarks>
public sealed class QuantizableConv2d : nn.Module<Tensor, Tensor>, IQuantizableLayer
{
    // TorchSharp registers parameters under the names of their fields.
    private readonly Parameter weight;
    private readonly Parameter? bias;
    private readonly long[] stride;
    private readonly long[] dilation;
    private readonly long[] padding;
    private readonly long groups;

    // Left, right, top, bottom; null where the convolution pads by itself.
    private readonly long[]? margins;
    private readonly PaddingModes paddingMode;

    // A field of a module's type would be registered as a child, and its parameters would have two names.
    private Func<FoldedBatchNorm>? folded;

    /// <summary>Creates a layer that computes what a convolution computes, with the same parameters.</summary>
    /// <param name="original">The convolution.</param>
    public QuantizableConv2d(Conv2d original)
        : this(original, original?.weight!, original?.bias)
    {
    }

    /// <summary>Creates a layer with the geometry of a convolution.</summary>
    internal QuantizableConv2d(Conv2d original, Parameter weight, Parameter? bias)
        : base(nameof(QuantizableConv2d))
    {
        ArgumentNullException.ThrowIfNull(original);
        this.weight = weight;
        this.bias = bias;
        stride = original.stride!;
        dilation = original.dilation!;
        groups = original.groups;
        paddingMode = original.padding_mode;
        margins = original switch
        {
            { padding_type: Padding.Same } => [.. Same(1), .. Same(0)],
            { padding_type: Padding.Valid } or { padding_mode: PaddingModes.Zeros } => null,
            { padding: [var height, var width] } => [width, width, height, height],
            _ => throw new NibbleException($"a convolution with {original.padding_mode} padding has no sizes of its padding for two axes"),
        };
        padding = margins is null && original is { padding_type: null, padding: { } sizes } ? sizes : [0, 0];
        RegisterComponents();

        long[] Same(int axis)
        {
            var total = dilation[axis] * (original.kernel_size[axis] - 1);
            return [total / 2, total - (total / 2)];
        }
    }

    /// <inheritdoc/>
    public Parameter Weight => weight;

    /// <summary>The bias, [out]; null when the layer has none.</summary>
    public Parameter? Bias => bias;

    /// <inheritdoc/>
    public ITensorQuantizer? WeightQuantizer { get; set; }

    /// <inheritdoc/>
    public ITensorQuantizer? InputQuantizer { get; set; }

    /// <inheritdoc/>
    public Tensor FoldedWeight => BatchNorm is { } norm ? Fold(norm) : weight;

    /// <summary>The bias together with that of the batch normalization; null where there is neither.</summary>
    internal Tensor? FoldedBias => BatchNorm is { } norm ? norm.Shift(bias) : bias;

    /// <summary>The batch normalization that is computed here; null where there is none.</summary>
    internal FoldedBatchNorm? BatchNorm
    {
        get => folded?.Invoke();
        set => folded = value is null ? null : () => value;
    }

    /// <inheritdoc/>
    public override Tensor forward(Tensor input)
    {
        using var scope = NewDisposeScope();
        var x = InputQuantizer?.Apply(input) ?? input;
        var values = FoldedWeight;
        values = WeightQuantizer?.Apply(values) ?? values;
        if (BatchNorm is not { } norm)
        {
            return Convolve(x, values, bias).MoveToOuterDisposeScope();
        }

        var output = norm.UsesBatchStatistics ? norm.Normalize(Unscale(Convolve(x, values, null), norm)) : Convolve(x, values, FoldedBias);
        norm.Expect(output);
        return output.MoveToOuterDisposeScope();
    }

    private Tensor Fold(FoldedBatchNorm norm)
    {
        using var scope = NewDisposeScope();
        return (weight * norm.Factor().view(-1, 1, 1, 1)).MoveToOuterDisposeScope();
    }

    /// <summary>What the convolution would have yielded with its weight not multiplied by the factor.</summary>
    private Tensor Unscale(Tensor output, FoldedBatchNorm norm)
    {
        var factor = norm.Factor().view(1, -1, 1, 1);

        // A channel that the batch normalization has switched off is zero, whatever it is divided by.
        output = output / where(factor == 0, ones_like(factor), factor);
        return bias is null ? output : output + bias.view(1, -1, 1, 1);
    }

    private Tensor Convolve(Tensor x, Tensor values, Tensor? shift)
    {
        var padded = margins is null ? x : F.pad(x, margins, paddingMode == PaddingModes.Zeros ? PaddingModes.Constant : paddingMode, 0);
        return F.conv2d(padded, values, shift, stride, padding, dilation, groups);
    }
}
