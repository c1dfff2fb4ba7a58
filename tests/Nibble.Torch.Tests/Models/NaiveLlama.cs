using Nibble.Models.Decoders;

namespace Nibble.Torch.Tests.Models;

/// <summary>The decoder again, in loops and double precision, straight from the papers: the check of the fast one.</summary>
internal sealed class NaiveLlama(DecoderConfig config, IReadOnlyDictionary<string, (long[] Shape, float[] Values)> tensors)
{
    /// <summary>Logits [position][token] of every next token.</summary>
    public double[][] Logits(int[] tokens)
    {
        var x = Array.ConvertAll(tokens, token => Row("model.embed_tokens.weight", token));
        for (var layer = 0; layer < config.Layers; layer++)
        {
            var block = $"model.layers.{layer}.";
            var attended = Attend(Array.ConvertAll(x, row => Normalise(row, block + "input_layernorm.weight")), block + "self_attn.");
            for (var t = 0; t < x.Length; t++)
            {
                x[t] = Add(x[t], attended[t]);
                x[t] = Add(x[t], FeedForward(Normalise(x[t], block + "post_attention_layernorm.weight"), block + "mlp."));
            }
        }

        return Array.ConvertAll(x, row => Linear(Normalise(row, "model.norm.weight"), config.TiedHead ? "model.embed_tokens" : "lm_head"));
    }

    /// <summary>The angle per position of pair i; Llama 3.1 by wavelengths.</summary>
    public double Frequency(int i)
    {
        var rotary = config.LayerPattern[0].Rotary!;
        var frequency = 1 / Math.Pow(rotary.Base, 2d * i / config.HeadSize);
        if (rotary.Scaling is LinearScaling linear)
        {
            return frequency / linear.Factor;
        }

        if (rotary.Scaling is not Llama3Scaling scaling)
        {
            return frequency;
        }

        var wavelength = 2 * Math.PI / frequency;
        if (wavelength < scaling.OriginalContext / scaling.HighFrequencyFactor)
        {
            return frequency;
        }

        if (wavelength > scaling.OriginalContext / scaling.LowFrequencyFactor)
        {
            return frequency / scaling.Factor;
        }

        var smooth = ((scaling.OriginalContext / wavelength) - scaling.LowFrequencyFactor) / (scaling.HighFrequencyFactor - scaling.LowFrequencyFactor);
        return ((1 - smooth) * frequency / scaling.Factor) + (smooth * frequency);
    }

    private double[][] Attend(double[][] x, string name)
    {
        var q = Array.ConvertAll(x, row => Linear(row, name + "q_proj"));
        var k = Array.ConvertAll(x, row => Linear(row, name + "k_proj"));
        var v = Array.ConvertAll(x, row => Linear(row, name + "v_proj"));
        var size = config.HeadSize;
        var result = new double[x.Length][];
        for (var t = 0; t < x.Length; t++)
        {
            var mixed = new double[config.Heads * size];
            for (var head = 0; head < config.Heads; head++)
            {
                var shared = head / (config.Heads / config.KeyValueHeads);
                var query = Turn(Head(q[t], head, name + "q_norm.weight"), t);
                var weights = new double[t + 1];
                for (var s = 0; s <= t; s++)
                {
                    var key = Turn(Head(k[s], shared, name + "k_norm.weight"), s);
                    weights[s] = Math.Exp(Dot(query, key) / Math.Sqrt(size));
                }

                var sum = weights.Sum();
                for (var s = 0; s <= t; s++)
                {
                    for (var i = 0; i < size; i++)
                    {
                        mixed[(head * size) + i] += weights[s] / sum * v[s][(shared * size) + i];
                    }
                }
            }

            result[t] = Linear(mixed, name + "o_proj");
        }

        return result;
    }

    private double[] Head(double[] all, int head, string norm)
    {
        var own = all[(head * config.HeadSize)..((head + 1) * config.HeadSize)];
        return config.QueryKeyNorm != QueryKeyNorm.None ? Normalise(own, norm) : own;
    }

    private double[] Turn(double[] head, int position)
    {
        var half = config.HeadSize / 2;
        var turned = new double[config.HeadSize];
        for (var i = 0; i < half; i++)
        {
            var (sine, cosine) = Math.SinCos(position * Frequency(i));
            turned[i] = (head[i] * cosine) - (head[i + half] * sine);
            turned[i + half] = (head[i + half] * cosine) + (head[i] * sine);
        }

        return turned;
    }

    private double[] FeedForward(double[] x, string name)
    {
        var gate = Linear(x, name + "gate_proj");
        var up = Linear(x, name + "up_proj");
        return Linear([.. gate.Zip(up, (g, u) => g / (1 + Math.Exp(-g)) * u)], name + "down_proj");
    }

    private double[] Normalise(double[] x, string name)
    {
        var root = Math.Sqrt((Dot(x, x) / x.Length) + config.NormEpsilon);
        var weight = tensors[name].Values;
        return [.. x.Select((value, i) => value / root * weight[i])];
    }

    private double[] Linear(double[] x, string name)
    {
        var rows = (int)tensors[name + ".weight"].Shape[0];
        var bias = tensors.TryGetValue(name + ".bias", out var found) ? found.Values : new float[rows];
        return [.. Enumerable.Range(0, rows).Select(row => Dot(Row(name + ".weight", row), x) + bias[row])];
    }

    private double[] Row(string name, int row)
    {
        var (shape, values) = tensors[name];
        var columns = (int)shape[1];
        return Array.ConvertAll(values[(row * columns)..((row + 1) * columns)], value => (double)value);
    }

    private static double[] Add(double[] x, double[] y) => [.. x.Zip(y, (a, b) => a + b)];

    private static double Dot(double[] x, double[] y) => x.Zip(y, (a, b) => a * b).Sum();
}
