using Nibble.Torch.Native;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;
using F = TorchSharp.torch.nn.functional;

namespace Nibble.Torch.Layers;

/// <summary>
/// A 2D convolution whose weight and input can be quantized. It can also compute the batch normalization that follows it (Jacob et al. 2018, section 3.2).
/// </summary>
/// <remarks>
/// With a folded batch normalization, the weight is multiplied by <c>gamma / sigma</c> of the running statistics before it is quantized, so that the codes do
/// not change from batch to batch. In training, the output is divided by that factor again and normalized with the statistics of the batch, until the
/// statistics are frozen (Krishnamoorthi 2018, section 3.2.2, with statistics of the quantized convolution instead of a second one in float). In evaluation,
/// and after they are frozen, the layer is a single convolution with the folded weight and bias, exactly as converted.
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

    // Left, right, top, bottom. Null if the convolution itself does the padding.
    private readonly long[]? margins;
    private readonly PaddingModes paddingMode;

    // A field with a module type would be registered as a child, and its parameters would have two names.
    private Func<FoldedBatchNorm>? folded;

    /// <summary>Creates a layer that computes the same as a convolution, with the same parameters.</summary>
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
            _ => throw new NibbleException($"a convolution with {original.padding_mode} padding does not specify its padding for two axes"),
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

    /// <summary>The bias, [out]. Null if the layer has none.</summary>
    public Parameter? Bias => bias;

    /// <inheritdoc/>
    public ITensorQuantizer? WeightQuantizer { get; set; }

    /// <inheritdoc/>
    public ITensorQuantizer? InputQuantizer { get; set; }

    /// <inheritdoc/>
    public Tensor FoldedWeight => BatchNorm is { } norm ? Fold(norm) : weight;

    /// <summary>The bias including that of the batch normalization. Null if there is neither.</summary>
    internal Tensor? FoldedBias => BatchNorm is { } norm ? norm.Shift(bias) : bias;

    /// <summary>The batch normalization that is folded into this layer. Null if there is none.</summary>
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

    /// <summary>The output that the convolution would have with the unscaled weight.</summary>
    private Tensor Unscale(Tensor output, FoldedBatchNorm norm)
    {
        var factor = norm.Factor().view(1, -1, 1, 1);

        // The output of a channel that the batch normalization has switched off is zero, whatever the divisor.
        output = output / where(factor.EqualTo(0), ones_like(factor), factor);
        return bias is null ? output : output.Plus(bias.view(1, -1, 1, 1));
    }

    private Tensor Convolve(Tensor x, Tensor values, Tensor? shift)
    {
        var padded = margins is null ? x : F.pad(x, margins, paddingMode == PaddingModes.Zeros ? PaddingModes.Constant : paddingMode, 0);
        return F.conv2d(padded, values, shift, stride, padding, dilation, groups);
    }
}
