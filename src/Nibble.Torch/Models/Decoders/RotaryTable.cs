using Nibble.Models.Decoders;
using Nibble.Torch.Native;
using static TorchSharp.torch;

namespace Nibble.Torch.Models.Decoders;

/// <summary>The cosines and sines of position x frequency, [positions, head size], extended on demand.</summary>
internal sealed class RotaryTable(DecoderConfig config) : IDisposable
{
    private Tensor? cosine;
    private Tensor? sine;

    /// <summary>Rotates the pairs (i, i + half) of each head by the angle of their position, [batch, heads, length, head size].</summary>
    public Tensor Rotate(Tensor x, int start)
    {
        var end = start + (int)x.shape[2];
        Extend(end, x.device);
        var half = config.HeadSize / 2;
        var turned = cat([-x.narrow(3, half, half), x.narrow(3, 0, half)], 3);
        return (x * cosine![start..end]).Plus(turned * sine![start..end]);
    }

    public void Dispose()
    {
        cosine?.Dispose();
        sine?.Dispose();
    }

    private void Extend(int positions, Device device)
    {
        if (cosine is not null && cosine.shape[0] >= positions && cosine.device_type == device.type)
        {
            return;
        }

        Dispose();
        positions = Math.Max(positions, Math.Min(config.MaxPositions, 2048));
        var frequencies = config.RotaryFrequencies();
        var angles = new float[positions, config.HeadSize];
        for (var i = 0; i < config.HeadSize; i++)
        {
            var frequency = frequencies[i % frequencies.Length];
            for (var position = 0; position < positions; position++)
            {
                angles[position, i] = position * frequency;
            }
        }

        using var scope = NewDisposeScope();
        var table = tensor(angles, device: device);
        cosine = table.cos().DetachFromDisposeScope();
        sine = table.sin().DetachFromDisposeScope();
    }
}
