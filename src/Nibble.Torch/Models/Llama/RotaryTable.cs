using static TorchSharp.torch;

namespace Nibble.Torch.Models.Llama;

/// <summary>Cosines and sines of position x frequency, [positions, head size], grown on demand.</summary>
internal sealed class RotaryTable(LlamaConfig config) : IDisposable
{
    private Tensor? cosine;
    private Tensor? sine;

    /// <summary>Turns the pairs (i, i + half) of each head by their position's angle; [batch, heads, length, head size].</summary>
    public Tensor Rotate(Tensor x, int start)
    {
        var end = start + (int)x.shape[2];
        Extend(end, x.device);
        var half = config.HeadSize / 2;
        var turned = cat([-x.narrow(3, half, half), x.narrow(3, 0, half)], 3);
        return (x * cosine![start..end]) + (turned * sine![start..end]);
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
        var half = config.HeadSize / 2;
        var angles = new float[positions, config.HeadSize];
        for (var i = 0; i < config.HeadSize; i++)
        {
            var frequency = (float)Frequency(config, i % half);
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

    /// <summary>Radians by which a pair of channels turns from one position to the next.</summary>
    public static double Frequency(LlamaConfig config, int pair)
    {
        var frequency = Math.Pow(config.RotaryBase, -2d * pair / config.HeadSize);
        if (config.RotaryScaling is not { } scaling)
        {
            return frequency;
        }

        if (scaling.OriginalContext == 0)
        {
            return frequency / scaling.Factor;
        }

        // Llama 3.1: high frequencies stay, low ones are divided, those between are blended.
        var turns = scaling.OriginalContext * frequency / (2 * Math.PI);
        var blend = Math.Clamp((turns - scaling.LowFrequencyFactor) / (scaling.HighFrequencyFactor - scaling.LowFrequencyFactor), 0, 1);
        return frequency * (blend + ((1 - blend) / scaling.Factor));
    }
}
