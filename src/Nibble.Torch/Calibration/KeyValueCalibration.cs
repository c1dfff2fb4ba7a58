using Nibble.Artifacts;
using Nibble.Numerics;
using Nibble.Observers;
using Nibble.Recipes;
using Nibble.Torch.Layers;
using Nibble.Torch.Models.Llama;
using Nibble.Torch.Ptq;
using static TorchSharp.torch;

namespace Nibble.Torch.Calibration;

/// <summary>Finds the ranges of a block's keys, channel by channel.</summary>
internal static class KeyValueCalibration
{
    /// <summary>Fixes the parameters of a block's keys.</summary>
    /// <remarks>The block computes with its weights and input quantizers as they are when it is called: after them, keys are what the quantized model caches.</remarks>
    /// <param name="block">The block; unchanged afterwards.</param>
    /// <param name="name">The block's name in the checkpoint, such as <c>model.layers.0</c>.</param>
    /// <param name="inputs">What the block reads.</param>
    /// <param name="rule">The recipe's rule.</param>
    /// <param name="cancellation">Stops between batches.</param>
    /// <returns>The parameters; null where the rule has no keys per channel.</returns>
    /// <exception cref="NibbleException">A key is not finite, or a scale is above what its precision can hold.</exception>
    public static KeyQuantization? Run(LlamaBlock block, string name, ActivationStream inputs, KeyValueCacheRule rule, CancellationToken cancellation)
    {
        if (rule is not { HasStaticKeys: true, Keys: { } scheme })
        {
            return null;
        }

        var module = $"{name}.self_attn";
        var observing = new ObservingKeyQuantizer(rule.Observer);
        var before = block.Attention.KeyQuantizer;
        block.Attention.KeyQuantizer = observing;
        try
        {
            inputs.ForEach(block.Attention.Key.Weight.device, (_, batch) => block.InputOf(BlockStage.AttentionOutput, batch), cancellation);
        }
        finally
        {
            block.Attention.KeyQuantizer = before;
        }

        if (observing.Channels.Sum(channel => channel.NonFiniteCount) is var broken and > 0)
        {
            throw new NibbleException($"calibration: the keys of '{module}' hold {broken} NaN or infinite values; the float model itself overflows on this text");
        }

        QuantizationParameters[] parameters;
        try
        {
            parameters = [.. observing.Channels.Select(channel => QuantizationParameters.FromRange(channel.Range(scheme), scheme))];
        }
        catch (OverflowException exception)
        {
            throw new NibbleException($"calibration: the keys of '{module}': {exception.Message}", exception);
        }

        return new KeyQuantization(
            module,
            observing.Heads,
            Array.ConvertAll(parameters, channel => channel.Scale),
            scheme.Symmetric ? [] : Array.ConvertAll(parameters, channel => (sbyte)channel.ZeroPoint));
    }

    /// <summary>Shows each channel of the keys to an observer of its own and passes the keys on unchanged.</summary>
    private sealed class ObservingKeyQuantizer(ObserverKind kind) : ITensorQuantizer
    {
        /// <summary>Observers, [key-value heads, head size] row by row.</summary>
        public IObserver[] Channels { get; private set; } = [];

        public int Heads { get; private set; }

        public Tensor Apply(Tensor tensor)
        {
            using var scope = NewDisposeScope();
            Heads = (int)tensor.shape[1];
            var channels = Heads * (int)tensor.shape[3];
            if (Channels.Length == 0)
            {
                Channels = [.. Enumerable.Range(0, channels).Select(_ => Observer.Create(kind))];
            }

            var values = tensor.detach().permute(1, 3, 0, 2).cpu().contiguous().data<float>().ToArray();
            var each = values.Length / channels;
            for (var i = 0; i < channels; i++)
            {
                Channels[i].Observe(values.AsSpan(i * each, each));
            }

            return tensor.alias().MoveToOuterDisposeScope();
        }
    }
}
