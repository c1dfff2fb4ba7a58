using Nibble.Numerics;
using Nibble.Torch.Native;
using TorchSharp;
using static TorchSharp.torch;
using static TorchSharp.torch.autograd;

namespace Nibble.Torch.Layers;

/// <summary>
/// Fake quantization in one pass forward and one backward for float32 tensors in CPU memory. Other tensors use the form composed of tensor operators.
/// </summary>
/// <remarks>
/// Values equal those of the composed forms bit for bit. So do the gradients of values, except for the rounding when autograd multiplies by the scale and
/// divides again. Only references to the inputs are saved between the passes.
/// </remarks>
internal static class FusedFakeQuantization
{
    // The most floats whose bytes fit into one span.
    private const long MostValues = int.MaxValue / sizeof(float);

    /// <summary>
    /// Fake quantization to grids with given scales, learned or fixed. This is LSQ, or LSQ+ if the zero points have a gradient.
    /// </summary>
    /// <remarks>
    /// The gradient of the scale is the full sum. The owner of the scale applies LSQ's factor <c>1 / sqrt(N Qp)</c> (Esser et al. 2020, section 2.2).
    /// </remarks>
    /// <param name="x">Values, [..., columns]. All axes but the last are rows.</param>
    /// <param name="scale">One scale per group in row-major order, of any shape.</param>
    /// <param name="zeroPoint">One zero point per group, whole numbers, with the shape of <paramref name="scale"/>. Null if all are 0.</param>
    /// <param name="codes">The range of codes.</param>
    /// <param name="granularity">Which values share a scale.</param>
    /// <param name="shift">0, or 1/2 for a stretched grid (see <see cref="GroupGrids"/>).</param>
    /// <returns>A tensor with the shape of <paramref name="x"/>.</returns>
    public static Tensor Learned(Tensor x, Tensor scale, Tensor? zeroPoint, CodeRange codes, Granularity granularity, float shift = 0)
    {
        if (!Fits(x) || !Fits(scale) || (zeroPoint is not null && !Fits(zeroPoint)))
        {
            return ComposedLearned(x, scale, zeroPoint, codes, granularity, shift);
        }

        // The scope also disposes a tensor of the result's size, which TorchSharp allocates to make zeros.
        using var scope = NewDisposeScope();
        var values = x.contiguous();
        var layout = new Layout(Columns(x), granularity, codes, shift);
        var differentiable = is_grad_enabled() && (values.requires_grad || scale.requires_grad || zeroPoint is { requires_grad: true });
        var result = differentiable ? LearnedFunction.apply(values, scale.contiguous(), zeroPoint?.contiguous()!, layout)
            : layout.Forward(values, scale.contiguous(), zeroPoint?.contiguous());
        return result.MoveToOuterDisposeScope();
    }

    /// <summary>Fake quantization to grids that cover the values' own ranges, with the straight-through estimator.</summary>
    /// <remarks>If a value is not finite, all values that share its scale become NaN.</remarks>
    /// <param name="x">Values, [..., columns]. All axes but the last are rows.</param>
    /// <param name="scheme">The scheme, which defines the codes and which values share a scale.</param>
    /// <returns>A tensor with the shape of <paramref name="x"/>.</returns>
    public static Tensor MinMax(Tensor x, QuantizationScheme scheme)
    {
        if (!Fits(x))
        {
            return ComposedMinMax(x, scheme);
        }

        using var scope = NewDisposeScope();
        var values = x.contiguous();
        var result = is_grad_enabled() && values.requires_grad ? MinMaxFunction.apply(values, scheme) : MinMaxFunction.Values(values, scheme);
        return result.MoveToOuterDisposeScope();
    }

    /// <summary><see cref="Learned"/> composed of tensor operators, on any device and in any floating type.</summary>
    public static Tensor ComposedLearned(Tensor x, Tensor scale, Tensor? zeroPoint, CodeRange codes, Granularity granularity, float shift = 0)
    {
        using var scope = NewDisposeScope();
        var zero = zeroPoint ?? zeros_like(scale);
        if (granularity is PerTensor)
        {
            return FakeQuantization.Learned(x, scale, zero, codes, shift).reshape(x.shape).MoveToOuterDisposeScope();
        }

        var groups = GroupsOf(x, granularity);
        var result = groups.Join(FakeQuantization.Learned(groups.Split(x), scale.reshape(-1, 1), zero.reshape(-1, 1), codes, shift));
        return result.reshape(x.shape).MoveToOuterDisposeScope();
    }

    /// <summary><see cref="MinMax"/> composed of tensor operators, on any device and in any floating type.</summary>
    public static Tensor ComposedMinMax(Tensor x, QuantizationScheme scheme)
    {
        using var scope = NewDisposeScope();
        var groups = GroupsOf(x, scheme.Granularity);
        var values = groups.Split(x.detach());
        var (scale, zeroPoint) = FakeQuantization.Parameters(values.amin([1], keepdim: true), values.amax([1], keepdim: true), scheme);
        var quantized = groups.Join(FakeQuantization.Apply(values, scale, zeroPoint, scheme.Codes, scheme.Shift)).reshape(x.shape);
        return FakeQuantization.StraightThrough(x, quantized).MoveToOuterDisposeScope();
    }

    private static WeightGroups GroupsOf(Tensor x, Granularity granularity) => new((int)(x.numel() / Columns(x)), Columns(x), granularity);

    private static int Columns(Tensor x) => x.dim() == 0 ? 1 : (int)x.shape[^1];

    private static bool Fits(Tensor tensor) =>
        tensor.device_type == DeviceType.CPU && tensor.dtype == float32 && !tensor.is_sparse && tensor.numel() is > 0 and <= MostValues;

    private static Span<float> ValuesOf(Tensor? tensor) => tensor is null ? [] : TensorMemory.Floats(tensor);

    /// <summary>The data that both passes need besides tensors.</summary>
    private sealed record Layout(int Columns, Granularity Granularity, CodeRange Codes, float Shift)
    {
        public GroupGrids Grids(Tensor scale, Tensor? zeroPoint) => new(ValuesOf(scale), ValuesOf(zeroPoint), Columns, Granularity, Codes, Shift);

        public Tensor Forward(Tensor x, Tensor scale, Tensor? zeroPoint)
        {
            var result = empty_like(x);
            FakeQuantizer.Forward(ValuesOf(x), Grids(scale, zeroPoint), ValuesOf(result), get_num_threads());

            // Spans do not keep tensors alive.
            GC.KeepAlive(x);
            GC.KeepAlive(scale);
            GC.KeepAlive(zeroPoint);
            return result;
        }
    }

    private sealed class LearnedFunction : SingleTensorFunction<LearnedFunction>
    {
        private const string LayoutKey = "layout";
        private const string WantedKey = "wanted";

        public override string Name => "nibble::fake_quantize";

        public override Tensor forward(AutogradContext ctx, params object[] vars)
        {
            var (x, scale, zeroPoint, layout) = ((Tensor)vars[0], (Tensor)vars[1], vars[2] as Tensor, (Layout)vars[3]);
            ctx.set_materialize_grads(false);
            ctx.save_for_backward([x, scale, zeroPoint!]);
            ctx.save_data(LayoutKey, layout);
            ctx.save_data(WantedKey, (x.requires_grad, scale.requires_grad, zeroPoint is { requires_grad: true }));
            return layout.Forward(x, scale, zeroPoint);
        }

        public override List<Tensor> backward(AutogradContext ctx, Tensor grad_output)
        {
            if (grad_output.IsInvalid)
            {
                return ReturnedGradients.Hold(null, null, null, null);
            }

            using var scope = NewDisposeScope();
            var saved = ctx.get_saved_variables();
            var (x, scale, zeroPoint) = (saved[0], saved[1], (Tensor?)saved[2]);
            var layout = (Layout)ctx.get_data(LayoutKey);
            var (wantsX, wantsScale, wantsZeroPoint) = ((bool, bool, bool))ctx.get_data(WantedKey);
            using var given = grad_output;
            var gradient = given.contiguous();
            var (ofX, ofScale, ofZeroPoint) = (wantsX ? empty_like(x) : null, wantsScale ? empty_like(scale) : null, wantsZeroPoint ? empty_like(scale) : null);
            FakeQuantizer.Backward(
                ValuesOf(x), ValuesOf(gradient), layout.Grids(scale, zeroPoint), ValuesOf(ofX), ValuesOf(ofScale), ValuesOf(ofZeroPoint), get_num_threads());
            return ReturnedGradients.Hold(ofX?.MoveToOuterDisposeScope(), ofScale?.MoveToOuterDisposeScope(), ofZeroPoint?.MoveToOuterDisposeScope(), null);
        }
    }

    private sealed class MinMaxFunction : SingleTensorFunction<MinMaxFunction>
    {
        public override string Name => "nibble::fake_quantize_min_max";

        public static Tensor Values(Tensor x, QuantizationScheme scheme)
        {
            var result = empty_like(x);
            FakeQuantizer.MinMax(ValuesOf(x), Columns(x), scheme, ValuesOf(result), get_num_threads());
            GC.KeepAlive(x);
            return result;
        }

        public override Tensor forward(AutogradContext ctx, params object[] vars)
        {
            ctx.set_materialize_grads(false);
            return Values((Tensor)vars[0], (QuantizationScheme)vars[1]);
        }

        public override List<Tensor> backward(AutogradContext ctx, Tensor grad_output) => ReturnedGradients.Hold(grad_output, null);
    }
}
