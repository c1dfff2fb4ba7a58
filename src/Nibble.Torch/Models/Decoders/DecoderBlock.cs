using Nibble.Models.Decoders;
using Nibble.Torch.Layers;
using Nibble.Torch.Native;
using static TorchSharp.torch;
using F = TorchSharp.torch.nn.functional;

namespace Nibble.Torch.Models.Decoders;

/// <summary>One decoder block: attention and a feed-forward part. Each follows a norm and has a residual connection.</summary>
public sealed class DecoderBlock : nn.Module<Tensor, Tensor>, IKeyValueBlock
{
    /// <summary>The index of the stage of the query, key and value projections, which read the normalised residual stream.</summary>
    internal const int AttentionInput = 0;

    /// <summary>The index of the stage of attention's output projection, which reads the attention output of all heads.</summary>
    internal const int AttentionOutput = 1;

    /// <summary>The index of the stage of the gate and up projections, which read the normalised residual stream.</summary>
    internal const int FeedForwardInput = 2;

    /// <summary>The index of the stage of the down projection, which reads the gated product.</summary>
    internal const int FeedForwardOutput = 3;

    // TorchSharp registers modules and parameters under the names of their fields, so fields have the checkpoint's names.
    private readonly RmsNorm input_layernorm;
    private readonly RmsNorm post_attention_layernorm;
    private readonly DecoderAttention self_attn;
    private readonly DecoderFeedForward mlp;

    internal DecoderBlock(DecoderConfig config, RotaryTable rotary)
        : base(nameof(DecoderBlock))
    {
        input_layernorm = new RmsNorm(config.HiddenSize, config.NormEpsilon);
        self_attn = new DecoderAttention(config, rotary);
        post_attention_layernorm = new RmsNorm(config.HiddenSize, config.NormEpsilon);
        mlp = new DecoderFeedForward(config);
        RegisterComponents();
        Stages =
        [
            new BlockStage(
                [new("self_attn.q_proj", self_attn.Query), new("self_attn.k_proj", self_attn.Key), new("self_attn.v_proj", self_attn.Value)],
                input => Trace(AttentionInput, input.Hidden))
            {
                Producer = new NormProducer($"{nameof(input_layernorm)}.weight", input_layernorm.Weight),
            },
            new BlockStage([new("self_attn.o_proj", self_attn.Output)], input => Trace(AttentionOutput, input.Hidden))
            {
                Producer = new LinearProducer(self_attn.Value, self_attn.Share, self_attn.HeadSize),
            },
            new BlockStage([new("mlp.gate_proj", mlp.Gate), new("mlp.up_proj", mlp.Up)], input => Trace(FeedForwardInput, input.Hidden))
            {
                Producer = new NormProducer($"{nameof(post_attention_layernorm)}.weight", post_attention_layernorm.Weight),
            },
            new BlockStage([new("mlp.down_proj", mlp.Down)], input => Trace(FeedForwardOutput, input.Hidden)) { Producer = new LinearProducer(mlp.Up) },
        ];
    }

    /// <inheritdoc/>
    public nn.Module Module => this;

    /// <inheritdoc/>
    public IReadOnlyList<BlockStage> Stages { get; }

    string IKeyValueBlock.Attention => nameof(self_attn);

    /// <inheritdoc/>
    public (int Heads, int Size) KeyValueHeads => (self_attn.KeyValueHeads, self_attn.HeadSize);

    /// <inheritdoc/>
    public ITensorQuantizer? KeyQuantizer
    {
        get => self_attn.KeyQuantizer;
        set => self_attn.KeyQuantizer = value;
    }

    /// <inheritdoc/>
    public ITensorQuantizer? ValueQuantizer
    {
        get => self_attn.ValueQuantizer;
        set => self_attn.ValueQuantizer = value;
    }

    /// <inheritdoc/>
    public HadamardTransform? HeadRotation
    {
        get => self_attn.HeadRotation;
        set => self_attn.HeadRotation = value;
    }

    /// <inheritdoc/>
    public Tensor UnrotatedKeys(BlockInput input) => self_attn.UnrotatedKeys(input_layernorm.forward(input.Hidden));

    /// <inheritdoc/>
    public Tensor RotateKeys(Tensor keys, int start) => self_attn.Rotate(keys, start);

    /// <inheritdoc/>
    public Tensor Compute(BlockInput input) => forward(input.Hidden);

    internal RmsNorm InputNorm => input_layernorm;

    internal DecoderAttention Attention => self_attn;

    internal RmsNorm FeedForwardNorm => post_attention_layernorm;

    internal DecoderFeedForward FeedForward => mlp;

    private StageTrace Trace(int stage, Tensor x)
    {
        var normed = input_layernorm.forward(x);
        if (stage == AttentionInput)
        {
            return new StageTrace(normed);
        }

        var mixed = self_attn.Mix(normed, 0, null, 0);
        if (stage == AttentionOutput)
        {
            return new StageTrace(mixed, x);
        }

        x = x.Plus(self_attn.Output.forward(mixed));
        normed = post_attention_layernorm.forward(x);
        return stage == FeedForwardInput ? new StageTrace(normed) : new StageTrace(mlp.Product(normed), x);
    }

    /// <inheritdoc/>
    public override Tensor forward(Tensor input) => Run(input, 0, null, 0);

    internal Tensor Run(Tensor x, int start, KeyValueCache? cache, int layer)
    {
        x = x.Plus(self_attn.Output.forward(self_attn.Mix(input_layernorm.forward(x), start, cache, layer)));
        return x.Plus(mlp.Down.forward(mlp.Product(post_attention_layernorm.forward(x))));
    }
}

/// <summary>The feed-forward part: SwiGLU (Shazeer 2020).</summary>
internal sealed class DecoderFeedForward : nn.Module
{
    private readonly QuantizableLinear gate_proj;
    private readonly QuantizableLinear up_proj;
    private readonly QuantizableLinear down_proj;

    public DecoderFeedForward(DecoderConfig config)
        : base(nameof(DecoderFeedForward))
    {
        gate_proj = new QuantizableLinear(config.HiddenSize, config.IntermediateSize, config.FeedForwardBias);
        up_proj = new QuantizableLinear(config.HiddenSize, config.IntermediateSize, config.FeedForwardBias);
        down_proj = new QuantizableLinear(config.IntermediateSize, config.HiddenSize, config.FeedForwardBias);
        RegisterComponents();
    }

    public QuantizableLinear Gate => gate_proj;

    public QuantizableLinear Up => up_proj;

    public QuantizableLinear Down => down_proj;

    /// <summary>The input of the down projection.</summary>
    public Tensor Product(Tensor x)
    {
        var projected = QuantizableLinear.Project(x, gate_proj, up_proj);
        return F.silu(projected[0]) * projected[1];
    }
}
