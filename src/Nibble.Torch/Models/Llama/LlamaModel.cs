using Nibble.Torch.Layers;
using Nibble.Torch.Native;
using TorchSharp.Modules;
using static TorchSharp.torch;
using F = TorchSharp.torch.nn.functional;

namespace Nibble.Torch.Models.Llama;

/// <summary>A Llama-family decoder: tokens in, logits out. Parameters carry the names of Hugging Face checkpoints.</summary>
/// <remarks>
/// Touvron et al. 2023 (Llama), with grouped-query attention (Ainslie et al. 2023), RMSNorm (Zhang and Sennrich 2019), rotary
/// position embedding (Su et al. 2021, in the half-rotated layout of Hugging Face) and SwiGLU (Shazeer 2020); with the biases of
/// Qwen2, the query-key norms of Qwen3 and the sliding window of Mistral where the configuration asks for them.
/// </remarks>
public sealed class LlamaModel : nn.Module<Tensor, Tensor>
{
    private readonly Parameter embedding;
    private readonly Block[] blocks;
    private readonly RmsNorm norm;
    private readonly QuantizableLinear? head;
    private readonly RotaryTable rotary;

    /// <summary>Creates a model with uninitialised weights.</summary>
    public LlamaModel(LlamaConfig config)
        : base(nameof(LlamaModel))
    {
        TorchRuntime.EnsureLoaded();
        Config = config;
        rotary = new RotaryTable(config);
        embedding = nn.Parameter(empty(config.VocabularySize, config.HiddenSize));
        norm = new RmsNorm(config.HiddenSize, config.NormEpsilon);
        blocks = [.. Enumerable.Range(0, config.Layers).Select(_ => new Block(config, rotary))];

        var linears = new List<KeyValuePair<string, QuantizableLinear>>();
        var body = new Container();
        var table = new Container();
        table.register_parameter("weight", embedding);
        body.register_module("embed_tokens", table);
        var layers = new Container();
        for (var i = 0; i < blocks.Length; i++)
        {
            layers.register_module($"{i}", blocks[i]);
        }

        body.register_module("layers", layers);
        body.register_module("norm", norm);
        register_module("model", body);
        if (!config.TiedHead)
        {
            head = new QuantizableLinear(config.HiddenSize, config.VocabularySize, bias: false);
            register_module("lm_head", head);
        }

        foreach (var (name, module) in named_modules())
        {
            if (module is QuantizableLinear linear)
            {
                linears.Add(new(name, linear));
            }
        }

        Linears = linears;
    }

    /// <summary>The model's shape.</summary>
    public LlamaConfig Config { get; }

    /// <summary>The linear layers by name, in the model's order: what a recipe decides about.</summary>
    public IReadOnlyList<KeyValuePair<string, QuantizableLinear>> Linears { get; }

    /// <summary>Values in all parameters.</summary>
    public long ParameterCount => parameters().Sum(parameter => parameter.numel());

    /// <summary>Logits of the next token after every position.</summary>
    /// <param name="input">Token ids, int64 [batch, length].</param>
    /// <returns>[batch, length, vocabulary].</returns>
    public override Tensor forward(Tensor input) => Logits(input, null);

    /// <summary>Logits of the next token after every position, continuing where a cache stands.</summary>
    /// <param name="tokens">Token ids, int64 [batch, length].</param>
    /// <param name="cache">Keys and values of the tokens before these, to which theirs are added; null to start at position 0 without keeping any.</param>
    /// <returns>[batch, length, vocabulary].</returns>
    public Tensor Logits(Tensor tokens, KeyValueCache? cache)
    {
        var start = cache?.Length ?? 0;
        var end = start + (int)tokens.shape[1];
        if (Config.SlidingWindow is { } window && end > window)
        {
            throw new NibbleException($"a sequence of {end} tokens is longer than this model's sliding window of {window}; use a shorter context");
        }

        var x = embedding.index_select(0, tokens.reshape(-1)).view(tokens.shape[0], tokens.shape[1], -1);
        rotary.Extend(end, x.device);
        for (var i = 0; i < blocks.Length; i++)
        {
            x = blocks[i].Forward(x, start, cache, i);
        }

        x = norm.forward(x);
        return head is null ? F.linear(x, embedding) : head.forward(x);
    }

    /// <summary>Draws all weights anew: normal with deviation 0.02, the projections back to the residual stream narrower by sqrt(2 x layers) (GPT-2's scheme), norms 1, biases 0.</summary>
    public void Initialize(Generator generator)
    {
        using var scope = NewDisposeScope();
        using var guard = no_grad();
        foreach (var (name, parameter) in named_parameters())
        {
            if (name.EndsWith("norm.weight", StringComparison.Ordinal))
            {
                nn.init.ones_(parameter);
            }
            else if (name.EndsWith("bias", StringComparison.Ordinal))
            {
                nn.init.zeros_(parameter);
            }
            else
            {
                var residual = name.Contains("o_proj", StringComparison.Ordinal) || name.Contains("down_proj", StringComparison.Ordinal);
                nn.init.normal_(parameter, 0, residual ? 0.02 / Math.Sqrt(2 * Config.Layers) : 0.02, generator);
            }
        }
    }

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        if (disposing)
        {
            rotary.Dispose();
        }

        base.Dispose(disposing);
    }

    /// <summary>A module that only gives its children a common name.</summary>
    private sealed class Container() : nn.Module(string.Empty);

    private sealed class Block : nn.Module
    {
        private readonly RmsNorm attentionNorm;
        private readonly RmsNorm feedForwardNorm;
        private readonly Attention attention;
        private readonly FeedForward feedForward;

        public Block(LlamaConfig config, RotaryTable rotary)
            : base(nameof(Block))
        {
            attentionNorm = new RmsNorm(config.HiddenSize, config.NormEpsilon);
            attention = new Attention(config, rotary);
            feedForwardNorm = new RmsNorm(config.HiddenSize, config.NormEpsilon);
            feedForward = new FeedForward(config);
            register_module("input_layernorm", attentionNorm);
            register_module("self_attn", attention);
            register_module("post_attention_layernorm", feedForwardNorm);
            register_module("mlp", feedForward);
        }

        public Tensor Forward(Tensor x, int start, KeyValueCache? cache, int layer)
        {
            x = x + attention.Forward(attentionNorm.forward(x), start, cache, layer);
            return x + feedForward.forward(feedForwardNorm.forward(x));
        }
    }

    private sealed class Attention : nn.Module
    {
        private readonly LlamaConfig config;
        private readonly RotaryTable rotary;
        private readonly QuantizableLinear query;
        private readonly QuantizableLinear key;
        private readonly QuantizableLinear value;
        private readonly QuantizableLinear output;
        private readonly RmsNorm? queryNorm;
        private readonly RmsNorm? keyNorm;

        public Attention(LlamaConfig config, RotaryTable rotary)
            : base(nameof(Attention))
        {
            this.config = config;
            this.rotary = rotary;
            query = new QuantizableLinear(config.HiddenSize, config.Heads * config.HeadSize, config.QueryKeyValueBias);
            key = new QuantizableLinear(config.HiddenSize, config.KeyValueHeads * config.HeadSize, config.QueryKeyValueBias);
            value = new QuantizableLinear(config.HiddenSize, config.KeyValueHeads * config.HeadSize, config.QueryKeyValueBias);
            output = new QuantizableLinear(config.Heads * config.HeadSize, config.HiddenSize, config.OutputBias);
            register_module("q_proj", query);
            register_module("k_proj", key);
            register_module("v_proj", value);
            register_module("o_proj", output);
            if (config.QueryKeyNorm)
            {
                queryNorm = new RmsNorm(config.HeadSize, config.NormEpsilon);
                keyNorm = new RmsNorm(config.HeadSize, config.NormEpsilon);
                register_module("q_norm", queryNorm);
                register_module("k_norm", keyNorm);
            }
        }

        public Tensor Forward(Tensor x, int start, KeyValueCache? cache, int layer)
        {
            var (batch, length) = (x.shape[0], x.shape[1]);
            Tensor Heads(Tensor t, RmsNorm? headNorm)
            {
                var split = t.view(batch, length, -1, config.HeadSize);
                return (headNorm?.forward(split) ?? split).transpose(1, 2);
            }

            var q = rotary.Rotate(Heads(query.forward(x), queryNorm), start);
            var k = rotary.Rotate(Heads(key.forward(x), keyNorm), start);
            var v = Heads(value.forward(x), null);
            if (cache is not null)
            {
                (k, v) = cache.Append(layer, k, v);
            }

            var share = config.Heads / config.KeyValueHeads;
            if (share > 1)
            {
                k = k.repeat_interleave(share, 1);
                v = v.repeat_interleave(share, 1);
            }

            // With a cache, position i of these may see the start + i before it; is_causal would count from 0.
            using var mask = start > 0 && length > 1 ? ones(length, start + length, dtype: ScalarType.Bool, device: x.device).tril(start) : null;
            var mixed = F.scaled_dot_product_attention(q, k, v, attn_mask: mask, is_casual: start == 0 && length > 1);
            return output.forward(mixed.transpose(1, 2).reshape(batch, length, -1));
        }
    }

    private sealed class FeedForward : nn.Module<Tensor, Tensor>
    {
        private readonly QuantizableLinear gate;
        private readonly QuantizableLinear up;
        private readonly QuantizableLinear down;

        public FeedForward(LlamaConfig config)
            : base(nameof(FeedForward))
        {
            gate = new QuantizableLinear(config.HiddenSize, config.IntermediateSize, config.FeedForwardBias);
            up = new QuantizableLinear(config.HiddenSize, config.IntermediateSize, config.FeedForwardBias);
            down = new QuantizableLinear(config.IntermediateSize, config.HiddenSize, config.FeedForwardBias);
            register_module("gate_proj", gate);
            register_module("up_proj", up);
            register_module("down_proj", down);
        }

        public override Tensor forward(Tensor x) => down.forward(F.silu(gate.forward(x)) * up.forward(x));
    }

    private sealed class RmsNorm : nn.Module<Tensor, Tensor>
    {
        private readonly double epsilon;
        private readonly Parameter weight;

        public RmsNorm(int size, double epsilon)
            : base(nameof(RmsNorm))
        {
            this.epsilon = epsilon;
            weight = nn.Parameter(ones(size));
            register_parameter("weight", weight);
        }

        public override Tensor forward(Tensor x) => x * rsqrt(x.square().mean([-1], keepdim: true) + epsilon) * weight;
    }

    /// <summary>Cosines and sines of position x frequency, [positions, head size], grown on demand.</summary>
    private sealed class RotaryTable(LlamaConfig config) : IDisposable
    {
        private Tensor? cosine;
        private Tensor? sine;

        public void Extend(int positions, Device device)
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
                var frequency = (float)Frequency(i % half);
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

        /// <summary>Turns the pairs (i, i + half) of each head by their position's angle; [batch, heads, length, head size].</summary>
        public Tensor Rotate(Tensor x, int start)
        {
            var end = start + x.shape[2];
            var half = config.HeadSize / 2;
            var turned = cat([-x.narrow(3, half, half), x.narrow(3, 0, half)], 3);
            return (x * cosine![start..(int)end]) + (turned * sine![start..(int)end]);
        }

        public void Dispose()
        {
            cosine?.Dispose();
            sine?.Dispose();
        }

        private double Frequency(int pair)
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
}
