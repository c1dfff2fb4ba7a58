using Nibble.Models.Decoders;
using Nibble.Torch.Native;
using static TorchSharp.torch;

namespace Nibble.Torch.Models.Decoders;

/// <summary>The cosines and sines of position x frequency, [positions, channels], extended on demand.</summary>
/// <param name="rotary">The rotary embedding.</param>
/// <param name="maxPositions">The positions that the model was trained for.</param>
internal sealed class RotaryTable(RotaryEmbedding rotary, int maxPositions) : IDisposable
{
    private Tensor? cosine;
    private Tensor? sine;

    /// <summary>Rotates the pairs (i, i + half) of each head by the angle of their position, [batch, heads, length, head size].</summary>
    /// <remarks>Channels after the rotated ones stay as they are.</remarks>
    public Tensor Rotate(Tensor x, int start)
    {
        var end = start + (int)x.shape[2];
        Extend(end, x.device);
        var (size, channels) = ((int)x.shape[3], rotary.Channels);
        if (channels < size)
        {
            return cat([Turn(x.narrow(3, 0, channels), start, end), x.narrow(3, channels, size - channels)], 3);
        }

        return Turn(x, start, end);
    }

    public void Dispose()
    {
        cosine?.Dispose();
        sine?.Dispose();
    }

    private Tensor Turn(Tensor x, int start, int end)
    {
        var half = rotary.Channels / 2;
        var turned = cat([-x.narrow(3, half, half), x.narrow(3, 0, half)], 3);
        return (x * cosine![start..end]).Plus(turned * sine![start..end]);
    }

    private void Extend(int positions, Device device)
    {
        if (cosine is not null && cosine.shape[0] >= positions && cosine.device_type == device.type)
        {
            return;
        }

        Dispose();
        positions = Math.Max(positions, Math.Min(maxPositions, 2048));
        var frequencies = rotary.Frequencies();
        var angles = new float[positions, rotary.Channels];
        for (var i = 0; i < rotary.Channels; i++)
        {
            var frequency = frequencies[i % frequencies.Length];
            for (var position = 0; position < positions; position++)
            {
                angles[position, i] = position * frequency;
            }
        }

        using var scope = NewDisposeScope();
        var table = tensor(angles, device: device);
        cosine = Scaled(table.cos()).DetachFromDisposeScope();
        sine = Scaled(table.sin()).DetachFromDisposeScope();
    }

    private Tensor Scaled(Tensor values) => rotary.Magnitude == 1 ? values : values.Times(rotary.Magnitude);
}

/// <summary>The tables of a model, one for each of its rotary embeddings.</summary>
internal sealed class RotaryTables(DecoderConfig config) : IDisposable
{
    private readonly Dictionary<RotaryEmbedding, RotaryTable> tables = config.LayerPattern.Select(layer => layer.Rotary).OfType<RotaryEmbedding>().Distinct()
        .ToDictionary(rotary => rotary, rotary => new RotaryTable(rotary, config.MaxPositions));

    /// <summary>The table of a layer; null if it has no rotary embedding.</summary>
    public RotaryTable? Of(DecoderLayer layer) => layer.Rotary is { } rotary ? tables[rotary] : null;

    public void Dispose()
    {
        foreach (var table in tables.Values)
        {
            table.Dispose();
        }
    }
}
