using Nibble.Torch.Layers;
using static TorchSharp.torch;

namespace Nibble.Torch.Evaluation;

/// <summary>
/// Rejects model outputs that are NaN or infinite, and reports where these values first appear. A score computed from them would be meaningless.
/// </summary>
internal static class Overflow
{
    /// <summary>Rejects outputs that are not finite.</summary>
    /// <param name="output">The model's output.</param>
    /// <param name="linears">The model's linear layers by name, in its order.</param>
    /// <param name="forward">Computes the output again.</param>
    /// <exception cref="NibbleException">The output is NaN or infinite. The message names the first layer whose input is.</exception>
    public static void Refuse(Tensor output, IEnumerable<KeyValuePair<string, QuantizableLinear>> linears, Func<Tensor> forward)
    {
        using var scope = NewDisposeScope();
        if (IsFinite(output))
        {
            return;
        }

        var place = FirstLayer(linears, forward) is { } layer ? $"the input of '{layer}'" : "its output";
        throw new NibbleException(
            $"the model computes NaN or infinite values on this text, first in {place}: it overflows, or its weights are damaged. Score the float model. "
            + "If its scores are sound, quantize with more bits");
    }

    /// <summary>Whether all values are finite.</summary>
    public static bool IsFinite(Tensor x)
    {
        using var scope = NewDisposeScope();
        return x.isfinite().all().item<bool>();
    }

    /// <summary>The first layer whose input is not finite. Null if there is none.</summary>
    private static string? FirstLayer(IEnumerable<KeyValuePair<string, QuantizableLinear>> linears, Func<Tensor> forward)
    {
        string? first = null;
        var own = linears.Select(linear => (linear.Value, linear.Value.InputQuantizer)).ToList();
        using var guard = no_grad();
        using var scope = NewDisposeScope();
        try
        {
            foreach (var (name, layer) in linears)
            {
                layer.InputQuantizer = new Watch(layer.InputQuantizer, () => first ??= name);
            }

            forward();
            return first;
        }
        finally
        {
            own.ForEach(item => item.Value.InputQuantizer = item.InputQuantizer);
        }
    }

    private sealed class Watch(ITensorQuantizer? own, Action found) : ITensorQuantizer
    {
        public Tensor Apply(Tensor tensor)
        {
            // The values of padding do not matter.
            if (!IsFinite(TokenMask.Select(tensor)))
            {
                found();
            }

            return own?.Apply(tensor) ?? tensor.alias();
        }
    }
}
