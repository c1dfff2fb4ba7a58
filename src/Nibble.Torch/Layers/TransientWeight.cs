using Nibble.Torch.Native;
using static TorchSharp.torch;
using static TorchSharp.torch.autograd;
using F = TorchSharp.torch.nn.functional;

namespace Nibble.Torch.Layers;

/// <summary>
/// A weight that is computed from a smaller representation whenever a product needs it, forward and backward. It is not kept in between.
/// </summary>
internal interface ITransientWeight : ITensorQuantizer
{
    /// <summary>The tensors with a gradient that the weight is computed from. They are leaves.</summary>
    IReadOnlyList<Tensor> Sources { get; }
}

/// <summary>Products with weights that are not kept.</summary>
internal static class TransientWeight
{
    /// <summary><c>y = x W^T + b</c>. The backward pass computes the weight again.</summary>
    public static Tensor Linear(Tensor x, ITransientWeight weight, Tensor placeholder, Tensor? bias)
    {
        // The scope also disposes temporary tensors that TorchSharp allocates.
        using var scope = NewDisposeScope();
        var product = is_grad_enabled() ? Product.apply([x, new Call(weight, placeholder, x.requires_grad), .. weight.Sources])
            : F.linear(x, weight.Apply(placeholder));
        return (bias is null ? product : product.Plus(bias)).MoveToOuterDisposeScope();
    }

    /// <summary>Releases a layer's own weight, which keeps its shape and reads as zeros.</summary>
    public static void Release(IQuantizableLayer layer)
    {
        using var guard = no_grad();
        using var scope = NewDisposeScope();
        layer.Weight.requires_grad_(false);
        layer.Weight.set_(zeros(1, device: layer.Weight.device).expand(layer.Weight.shape));
    }

    private sealed record Call(ITransientWeight Weight, Tensor Placeholder, bool WantsInput);

    private sealed class Product : SingleTensorFunction<Product>
    {
        private const string CallKey = "call";

        public override string Name => "nibble::transient_linear";

        public override Tensor forward(AutogradContext ctx, params object[] vars)
        {
            using var scope = NewDisposeScope();
            var (x, call) = ((Tensor)vars[0], (Call)vars[1]);
            ctx.save_for_backward([x]);
            ctx.save_data(CallKey, call);
            return F.linear(x, call.Weight.Apply(call.Placeholder)).MoveToOuterDisposeScope();
        }

        public override List<Tensor> backward(AutogradContext ctx, Tensor grad_output)
        {
            using var scope = NewDisposeScope();
            using var given = grad_output;
            var call = (Call)ctx.get_data(CallKey);
            var x = ctx.get_saved_variables()[0];
            Tensor weight;
            using (enable_grad())
            {
                weight = call.Weight.Apply(call.Placeholder);
            }

            var ofInput = call.WantsInput ? given.matmul(weight.detach()) : null;
            IReadOnlyList<Tensor> ofSources = [];
            if (call.Weight.Sources.Count > 0)
            {
                var ofWeight = given.reshape(-1, given.shape[^1]).t().matmul(x.reshape(-1, x.shape[^1]).detach());
                ofSources = [.. grad([weight], [.. call.Weight.Sources], [ofWeight])];
            }

            return ReturnedGradients.Hold([ofInput?.MoveToOuterDisposeScope(), null, .. ofSources.Select(gradient => gradient.MoveToOuterDisposeScope())]);
        }
    }
}
