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

    /// <summary>A cache of the first positions, from which several rows can continue. Its tensors share the memory of this one's until it grows.</summary>
    /// <param name="length">The number of positions, at most <see cref="Length"/>.</param>
    /// <param name="rows">The number of rows. More than one needs a cache of one row.</param>
    internal KeyValueCache Fork(int length, int rows)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan(length, Length);
        var fork = new KeyValueCache(entries.Length);
        for (var layer = 0; layer < entries.Length && length > 0; layer++)
        {
            var (keys, values) = entries[layer]!.Value;
            fork.entries[layer] = (Part(keys), Part(values));
        }

        return fork;

        Tensor Part(Tensor all)
        {
            using var scope = NewDisposeScope();
            return all.narrow(2, 0, length).expand(rows, -1, -1, -1).DetachFromDisposeScope();
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
