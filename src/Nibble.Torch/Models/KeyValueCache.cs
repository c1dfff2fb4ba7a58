using static TorchSharp.torch;

namespace Nibble.Torch.Models;

/// <summary>The keys and values of the tokens seen so far, so that the next token needs only one position of computation.</summary>
/// <param name="layers">The number of decoder blocks in the model.</param>
public sealed class KeyValueCache(int layers) : IDisposable
{
    private readonly (Tensor Keys, Tensor Values)?[] entries = new (Tensor, Tensor)?[layers];

    /// <summary>The number of cached positions.</summary>
    public int Length => entries[^1] is { } last ? (int)last.Keys.shape[2] : 0;

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (var entry in entries)
        {
            entry?.Keys.Dispose();
            entry?.Values.Dispose();
        }
    }

    /// <summary>Adds the keys and values of new positions, [batch, heads, length, head size], and returns all those of the layer.</summary>
    internal (Tensor Keys, Tensor Values) Append(int layer, Tensor keys, Tensor values)
    {
        if (entries[layer] is { } old)
        {
            keys = cat([old.Keys, keys], 2);
            values = cat([old.Values, values], 2);
            old.Keys.Dispose();
            old.Values.Dispose();
        }

        // The cache outlives the scope of the step that fills it.
        keys = keys.alias().DetachFromDisposeScope();
        values = values.alias().DetachFromDisposeScope();
        entries[layer] = (keys, values);
        return (keys, values);
    }
}
