using Nibble.Torch.Native;
using static TorchSharp.torch;
using static TorchSharp.torch.autograd;

namespace Nibble.Torch.Layers;

/// <summary>Runs part of a model without keeping the activations for its backward pass, and recomputes them there (Chen et al. 2016).</summary>
/// <remarks>
/// Only the input of each part stays in memory, at the cost of a second forward pass. The gradients of the input and of all parameters of the part are the same
/// as without recomputation.
/// </remarks>
internal static class Recomputation
{
    private enum Pass
    {
        /// <summary>Not inside such a part.</summary>
        None,
        First,
        Second,
    }

    [ThreadStatic]
    private static Pass pass;

    /// <summary>Whether this is the first pass over the current values in a training step. Observers collect statistics only then.</summary>
    public static bool IsFirstPass => pass == Pass.None ? is_grad_enabled() : pass == Pass.First;

    /// <summary>Runs a part of a model.</summary>
    /// <param name="input">Its input.</param>
    /// <param name="part">The part. The same input and parameters must give the same output.</param>
    public static Tensor Run(Tensor input, Func<Tensor, Tensor> part)
    {
        if (!is_grad_enabled())
        {
            return part(input);
        }

        // The input may need no gradient while parameters inside the part do. The anchor makes autograd call the backward function in that case too.
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
