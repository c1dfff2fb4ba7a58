using Nibble.Torch.Native;
using static TorchSharp.torch;
using static TorchSharp.torch.autograd;

namespace Nibble.Torch.Layers;

/// <summary>Computes a part of a model without keeping what its backward pass needs, and computes it again there (Chen et al. 2016).</summary>
/// <remarks>
/// Of each part only the input stays in memory; the price is a second forward pass. Gradients are those of the plain form: of the input, and of
/// every parameter that the part uses.
/// </remarks>
internal static class Recomputation
{
    private enum Pass
    {
        /// <summary>Outside of such a part.</summary>
        None,
        First,
        Second,
    }

    [ThreadStatic]
    private static Pass pass;

    /// <summary>Whether what runs now is seen for the first time in a training step: observers look then, and not again.</summary>
    public static bool IsFirstPass => pass == Pass.None ? is_grad_enabled() : pass == Pass.First;

    /// <summary>Runs a part.</summary>
    /// <param name="input">Its input.</param>
    /// <param name="part">The part: the same input and parameters have to give the same output.</param>
    public static Tensor Run(Tensor input, Func<Tensor, Tensor> part)
    {
        if (!is_grad_enabled())
        {
            return part(input);
        }

        // Where the input needs no gradient, parameters inside of the part do: the anchor makes autograd come back here.
        using var scope = NewDisposeScope();
        var anchor = zeros(1, requires_grad: true);
        return Function.apply(input, anchor, part).MoveToOuterDisposeScope();
    }

    private static Tensor During(Pass now, Func<Tensor, Tensor> part, Tensor input)
    {
        var before = pass;
        pass = now;
        try
        {
            return part(input);
        }
        finally
        {
            pass = before;
        }
    }

    private sealed class Function : SingleTensorFunction<Function>
    {
        private const string PartKey = "part";
        private const string WantedKey = "wanted";

        public override string Name => "nibble::recompute";

        public override Tensor forward(AutogradContext ctx, params object[] vars)
        {
            var (input, part) = ((Tensor)vars[0], (Func<Tensor, Tensor>)vars[2]);
            ctx.save_for_backward([input]);
            ctx.save_data(PartKey, part);
            ctx.save_data(WantedKey, input.requires_grad);
            using var scope = NewDisposeScope();
            using var guard = no_grad();
            return During(Pass.First, part, input).MoveToOuterDisposeScope();
        }

        public override List<Tensor> backward(AutogradContext ctx, Tensor grad_output)
        {
            using var scope = NewDisposeScope();
            using var recording = enable_grad();
            using var given = grad_output;
            var wanted = (bool)ctx.get_data(WantedKey);
            var input = ctx.get_saved_variables()[0].detach().requires_grad_(wanted);
            var output = During(Pass.Second, (Func<Tensor, Tensor>)ctx.get_data(PartKey), input);
            if (output.requires_grad)
            {
                output.backward([given]);
            }

            return ReturnedGradients.Hold(wanted ? input.grad?.MoveToOuterDisposeScope() : null, null, null);
        }
    }
}
