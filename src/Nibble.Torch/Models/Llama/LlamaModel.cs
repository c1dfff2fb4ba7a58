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
    private readonly Body model;
    private readonly QuantizableLinear? lm_head;

    /// <summary>Creates a model with uninitialised weights.</summary>
    public LlamaModel(LlamaConfig config)
        : base(LoadLibrary())
    {
        Config = config;
        model = new Body(config);
        lm_head = config.TiedHead ? null : new QuantizableLinear(config.HiddenSize, config.VocabularySize, bias: false);
        RegisterComponents();
        var linears = named_modules().Where(item => item.module is QuantizableLinear).Select(item => KeyValuePair.Create(item.name, (QuantizableLinear)item.module));

        // TorchSharp names direct children first, and so the head before the blocks.
        Linears = [.. linears.OrderBy(linear => linear.Value == lm_head)];
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

        var x = model.Forward(tokens, start, cache);
        return lm_head is null ? F.linear(x, model.Embedding) : lm_head.forward(x);
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

                // nn.init.normal_ takes a generator but draws from the global one.
                parameter.normal_(0, residual ? 0.02 / Math.Sqrt(2 * Config.Layers) : 0.02, generator);
            }
        }
    }

    // The base class's constructor calls libtorch already.
    private static string LoadLibrary()
    {
        TorchRuntime.EnsureLoaded();
        return nameof(LlamaModel);
    }

    // Fields are named as in the checkpoint: TorchSharp registers modules and parameters under the names of their fields.
    private sealed class Body : nn.Module
    {
        private readonly TokenTable embed_tokens;
        private readonly ModuleList<Block> layers;
        private readonly RmsNorm norm;
        private readonly RotaryTable rotary;

        public Body(LlamaConfig config)
            : base(nameof(Body))
        {
            rotary = new RotaryTable(config);
            embed_tokens = new TokenTable(config.VocabularySize, config.HiddenSize);
            layers = new ModuleList<Block>([.. Enumerable.Range(0, config.Layers).Select(_ => new Block(config, rotary))]);
            norm = new RmsNorm(config.HiddenSize, config.NormEpsilon);
            RegisterComponents();
        }

        public Parameter Embedding => embed_tokens.Weight;

        public Tensor Forward(Tensor tokens, int start, KeyValueCache? cache)
        {
            var x = Embedding.index_select(0, tokens.reshape(-1)).view(tokens.shape[0], tokens.shape[1], -1);
            rotary.Extend(start + (int)tokens.shape[1], x.device);
            for (var i = 0; i < layers.Count; i++)
            {
                x = layers[i].Forward(x, start, cache, i);
            }

            return norm.forward(x);
        }

        protected override void Dispose(bool disposing)
        {
            if (disposing)
            {
                rotary.Dispose();
            }

            base.Dispose(disposing);
        }
    }

    private sealed class TokenTable : nn.Module
    {
        private readonly Parameter weight;

        public TokenTable(int tokens, int size)
            : base(nameof(TokenTable))
        {
            weight = nn.Parameter(empty(tokens, size));
            RegisterComponents();
        }

        public Parameter Weight => weight;
    }

    private sealed class Block : nn.Module
    {
        private readonly RmsNorm input_layernorm;
        private readonly RmsNorm post_attention_layernorm;
        private readonly Attention self_attn;
        private readonly FeedForward mlp;

        public Block(LlamaConfig config, RotaryTable rotary)
            : base(nameof(Block))
        {
            input_layernorm = new RmsNorm(config.HiddenSize, config.NormEpsilon);
            self_attn = new Attention(config, rotary);
            post_attention_layernorm = new RmsNorm(config.HiddenSize, config.NormEpsilon);
            mlp = new FeedForward(config);
            RegisterComponents();
        }

        public Tensor Forward(Tensor x, int start, KeyValueCache? cache, int layer)
        {
            x = x + self_attn.Forward(input_layernorm.forward(x), start, cache, layer);
            return x + mlp.forward(post_attention_layernorm.forward(x));
        }
    }

    private sealed class Attention : nn.Module
    {
        private readonly LlamaConfig config;
        private readonly RotaryTable rotary;
        private readonly QuantizableLinear q_proj;
        private readonly QuantizableLinear k_proj;
        private readonly QuantizableLinear v_proj;
        private readonly QuantizableLinear o_proj;
        private readonly RmsNorm? q_norm;
        private readonly RmsNorm? k_norm;

        public Attention(LlamaConfig config, RotaryTable rotary)
            : base(nameof(Attention))
        {
            this.config = config;
            this.rotary = rotary;
            q_proj = new QuantizableLinear(config.HiddenSize, config.Heads * config.HeadSize, config.QueryKeyValueBias);
            k_proj = new QuantizableLinear(config.HiddenSize, config.KeyValueHeads * config.HeadSize, config.QueryKeyValueBias);
            v_proj = new QuantizableLinear(config.HiddenSize, config.KeyValueHeads * config.HeadSize, config.QueryKeyValueBias);
            o_proj = new QuantizableLinear(config.Heads * config.HeadSize, config.HiddenSize, config.OutputBias);
            if (config.QueryKeyNorm)
            {
                q_norm = new RmsNorm(config.HeadSize, config.NormEpsilon);
                k_norm = new RmsNorm(config.HeadSize, config.NormEpsilon);
            }

            RegisterComponents();
        }

        public Tensor Forward(Tensor x, int start, KeyValueCache? cache, int layer)
        {
            var (batch, length) = (x.shape[0], x.shape[1]);
            Tensor Heads(Tensor t, RmsNorm? headNorm)
            {
                var split = t.view(batch, length, -1, config.HeadSize);
                return (headNorm?.forward(split) ?? split).transpose(1, 2);
            }

            var q = rotary.Rotate(Heads(q_proj.forward(x), q_norm), start);
            var k = rotary.Rotate(Heads(k_proj.forward(x), k_norm), start);
            var v = Heads(v_proj.forward(x), null);
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
            return o_proj.forward(mixed.transpose(1, 2).reshape(batch, length, -1));
        }
    }

    private sealed class FeedForward : nn.Module<Tensor, Tensor>
    {
        private readonly QuantizableLinear gate_proj;
        private readonly QuantizableLinear up_proj;
        private readonly QuantizableLinear down_proj;

        public FeedForward(LlamaConfig config)
            : base(nameof(FeedForward))
        {
            gate_proj = new QuantizableLinear(config.HiddenSize, config.IntermediateSize, config.FeedForwardBias);
            up_proj = new QuantizableLinear(config.HiddenSize, config.IntermediateSize, config.FeedForwardBias);
            down_proj = new QuantizableLinear(config.IntermediateSize, config.HiddenSize, config.FeedForwardBias);
            RegisterComponents();
        }

        public override Tensor forward(Tensor x) => down_proj.forward(F.silu(gate_proj.forward(x)) * up_proj.forward(x));
    }

    private sealed class RmsNorm : nn.Module<Tensor, Tensor>
    {
        // A number that the module holds: a temporary one could be finalized while libtorch reads it (see CollectorPause).
        private readonly TorchSharp.Scalar epsilon;
        private readonly Parameter weight;

        public RmsNorm(int size, double epsilon)
            : base(nameof(RmsNorm))
        {
            this.epsilon = epsilon;
            weight = nn.Parameter(ones(size));
            RegisterComponents();
        }

        public override Tensor forward(Tensor x) => x * rsqrt((x * x).mean([-1], keepdim: true) + epsilon) * weight;
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
