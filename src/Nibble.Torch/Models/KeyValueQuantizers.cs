using Nibble.Torch.Layers;
using Nibble.Artifacts;
using Nibble.Numerics;
using Nibble.Recipes;
using static TorchSharp.torch;

namespace Nibble.Torch.Models;

/// <summary>Quantizes keys with a fixed scale and zero point per key-value head and channel, which calibration determined.</summary>
internal sealed class ChannelKeyQuantizer : ITensorQuantizer, IDisposable
{
    private readonly CodeRange codes;
    private readonly Tensor scale;
    private readonly Tensor zeroPoint;

    /// <summary>Creates a quantizer.</summary>
    /// <param name="scheme">A scheme per channel.</param>
    /// <param name="keys">The quantization parameters.</param>
    /// <param name="device">The device of the keys.</param>
    public ChannelKeyQuantizer(QuantizationScheme scheme, KeyQuantization keys, Device device)
    {
        ArgumentNullException.ThrowIfNull(scheme);
        ArgumentNullException.ThrowIfNull(keys);
        codes = scheme.Codes;
        long[] shape = [keys.Heads, 1, keys.HeadSize];
        scale = tensor(keys.Scales, shape, device: device).DetachFromDisposeScope();
        zeroPoint = (scheme.Symmetric ? zeros(shape, device: device) : tensor(Array.ConvertAll(keys.ZeroPoints, code => (float)code), shape, device: device))
            .DetachFromDisposeScope();
    }

    /// <inheritdoc/>
    /// <param name="tensor">Keys, [batch, key-value heads, length, head size].</param>
    public Tensor Apply(Tensor tensor)
    {
        using var scope = NewDisposeScope();
        return FakeQuantization.StraightThrough(tensor, FakeQuantization.Apply(tensor.detach(), scale, zeroPoint, codes)).MoveToOuterDisposeScope();
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        scale.Dispose();
        zeroPoint.Dispose();
    }
}

/// <summary>Installs the quantizers of a key-value cache in a model's attention.</summary>
internal static class KeyValueQuantizers
{
    /// <summary>Sets both quantizers of a block.</summary>
    /// <param name="block">The block. Blocks without a cache are left unchanged.</param>
    /// <param name="rule">The recipe's rule. Null leaves keys and values float.</param>
    /// <param name="keys">The quantization parameters of the keys. Used only if the rule quantizes keys per channel.</param>
    public static void Set(IQuantizableBlock block, KeyValueCacheRule? rule, KeyQuantization? keys)
    {
        if (block is not IKeyValueBlock caching)
        {
            return;
        }

        caching.KeyQuantizer = rule switch
        {
            { HasStaticKeys: true, Keys: { } scheme } => new ChannelKeyQuantizer(scheme, keys!, block.Parameters[0].Value.device),
            { Keys: { } scheme } => new DynamicInputQuantizer(scheme),
            _ => null,
        };
        caching.ValueQuantizer = rule?.Values is { } values ? new DynamicInputQuantizer(values) : null;
    }

    /// <summary>Rotates queries and keys of a block if the recipe rotates the model and quantizes its keys.</summary>
    public static void Rotate(IQuantizableBlock block, Recipe recipe)
    {
        if (block is IKeyValueBlock caching)
        {
            caching.HeadRotation = recipe is { Rotation: Rotation.Hadamard, KeyValueCache.Keys: not null } ? new HadamardTransform(caching.KeyValueHeads.Size)
                : null;
        }
    }

    /// <summary>Rejects a recipe that quantizes the cache of a model without one.</summary>
    /// <exception cref="NibbleException">The recipe does that.</exception>
    public static void Require(Recipe recipe, IQuantizableBlock block, string model)
    {
        if (recipe.KeyValueCache is not null && block is not IKeyValueBlock)
        {
            throw new NibbleException($"the recipe '{recipe.Name}' quantizes a key-value cache, but {model} has none: it is not a decoder");
        }
    }
}
