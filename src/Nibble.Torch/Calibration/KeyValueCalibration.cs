using Nibble.Artifacts;
using Nibble.Numerics;
using Nibble.Observers;
using Nibble.Recipes;
using Nibble.Torch.Models;
using static TorchSharp.torch;

namespace Nibble.Torch.Calibration;

/// <summary>Determines the ranges of a block's keys, per channel.</summary>
/// <remarks>
/// The cache holds keys after their rotary embedding. A slow rotation shifts a channel's range with the position. Windows shorter than the context would miss
/// keys at later positions. Therefore every window is evaluated at up to <see cref="Placements"/> positions in the context.
/// </remarks>
internal static class KeyValueCalibration
{
    /// <summary>The maximum number of positions in the context at which each window is evaluated.</summary>
    private const int Placements = 16;

    /// <summary>Determines the quantization parameters of a block's keys.</summary>
    /// <remarks>
    /// The block computes with its current weights and input quantizers. Call this after they are set, so that the keys are those that the quantized model
    /// caches.
    /// </remarks>
    /// <param name="block">The block. It is unchanged afterwards.</param>
    /// <param name="name">The block's name in the checkpoint, for example <c>model.layers.0</c>.</param>
    /// <param name="inputs">The block's inputs.</param>
    /// <param name="rule">The recipe's rule.</param>
    /// <param name="context">The model's maximum number of positions.</param>
    /// <param name="cancellation">Cancels between batches.</param>
    /// <returns>The parameters. Null if the rule does not quantize keys per channel.</returns>
    /// <exception cref="NibbleException">A key is not finite, or a scale is too large for its precision.</exception>
    public static KeyQuantization? Run(
        IKeyValueBlock block, string name, ActivationStream inputs, KeyValueCacheRule rule, int context, CancellationToken cancellation)
    {
        if (rule is not { HasStaticKeys: true, Keys: { } scheme })
        {
            return null;
        }

        var module = $"{name}.{block.Attention}";
        var (heads, observers) = (0, Array.Empty<IObserver>());
        inputs.ForEach(
            block.Parameters[0].Value.device,
            (_, batch) =>
            {
                var keys = block.UnrotatedKeys(batch);
                heads = (int)keys.shape[1];
                if (observers.Length == 0)
                {
                    observers = [.. Enumerable.Range(0, heads * (int)keys.shape[3]).Select(_ => Observer.Create(rule.Observer))];
                }

                foreach (var start in Starts(inputs.Lengths[0], context))
                {
                    Observe(block.RotateKeys(keys, start), observers);
                }
            },
            cancellation);
        if (observers.Sum(channel => channel.NonFiniteCount) is var broken and > 0)
        {
            throw new NibbleException(
                $"calibration: the keys of '{module}' hold {broken} NaN or infinite values. The float model itself overflows on this text");
        }

        try
        {
            var parameters = Array.ConvertAll(observers, channel => QuantizationParameters.FromRange(channel.Range(scheme), scheme));
            return new KeyQuantization(
                module,
                heads,
                Array.ConvertAll(parameters, channel => channel.Scale),
                scheme.Symmetric ? [] : Array.ConvertAll(parameters, channel => (sbyte)channel.ZeroPoint));
        }
        catch (OverflowException exception)
        {
            throw new NibbleException($"calibration: the keys of '{module}': {exception.Message}", exception);
        }
    }

    /// <summary>The positions of windows: next to each other over the whole context, or evenly spaced if these would be too many.</summary>
    internal static IReadOnlyList<int> Starts(int length, int context)
    {
        var count = Math.Clamp((context + length - 1) / length, 1, Placements);
        return [.. Enumerable.Range(0, count).Select(i => count == 1 ? 0 : (int)((long)i * (context - length) / (count - 1)))];
    }

    /// <summary>Passes each channel of keys, [batch, key-value heads, length, head size], to its observer.</summary>
    private static void Observe(Tensor keys, IObserver[] observers)
    {
        using var scope = NewDisposeScope();
        var values = keys.permute(1, 3, 0, 2).cpu().contiguous().data<float>().ToArray();
        var each = values.Length / observers.Length;
        for (var i = 0; i < observers.Length; i++)
        {
            observers[i].Observe(values.AsSpan(i * each, each));
        }
    }
}
