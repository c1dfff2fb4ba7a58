using Nibble.Artifacts;
using Nibble.Numerics;
using Nibble.Observers;
using Nibble.Recipes;
using Nibble.Torch.Models;
using static TorchSharp.torch;

namespace Nibble.Torch.Calibration;

/// <summary>Finds the ranges of a block's keys, channel by channel.</summary>
/// <remarks>
/// What is cached are rotated keys, and a rotation that is slow moves a channel's range with the position. Windows shorter than the
/// context would leave out how keys look further on, so every window is seen at up to <see cref="Placements"/> places of the context.
/// </remarks>
internal static class KeyValueCalibration
{
    /// <summary>Places of the context at which each window is seen, at most.</summary>
    private const int Placements = 16;

    /// <summary>Fixes the parameters of a block's keys.</summary>
    /// <remarks>The block computes with its weights and input quantizers as they are when it is called: after them, keys are what the quantized model
    /// caches.</remarks>
    /// <param name="block">The block; unchanged afterwards.</param>
    /// <param name="name">The block's name in the checkpoint, such as <c>model.layers.0</c>.</param>
    /// <param name="inputs">What the block reads.</param>
    /// <param name="rule">The recipe's rule.</param>
    /// <param name="context">Positions that the model can take.</param>
    /// <param name="cancellation">Stops between batches.</param>
    /// <returns>The parameters; null where the rule has no keys per channel.</returns>
    /// <exception cref="NibbleException">A key is not finite, or a scale is above what its precision can hold.</exception>
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
                $"calibration: the keys of '{module}' hold {broken} NaN or infinite values; the float model itself overflows on this text");
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

    /// <summary>Where windows are put: side by side over the whole context, or evenly spread over it where that would be too many.</summary>
    internal static IReadOnlyList<int> Starts(int length, int context)
    {
        var count = Math.Clamp((context + length - 1) / length, 1, Placements);
        return [.. Enumerable.Range(0, count).Select(i => count == 1 ? 0 : (int)((long)i * (context - length) / (count - 1)))];
    }

    /// <summary>Shows each channel of keys [batch, key-value heads, length, head size] to its observer.</summary>
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
