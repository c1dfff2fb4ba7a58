using Nibble.Torch.Layers;
using static TorchSharp.torch;
using F = TorchSharp.torch.nn.functional;

namespace Nibble.Torch.Models.Llama;

/// <summary>The linear layers of a decoder block that read the same input, in the order in which a block computes them.</summary>
public enum BlockStage
{
    /// <summary>Query, key and value projections: they read the normalised residual stream.</summary>
    AttentionInput,

    /// <summary>The output projection of the attention: it reads the mixed values.</summary>
    AttentionOutput,

    /// <summary>Gate and up projections: they read the normalised residual stream.</summary>
    FeedForwardInput,

    /// <summary>The down projection: it reads the gated product.</summary>
    FeedForwardOutput,
}

/// <summary>One decoder block: attention and a feed-forward part, each behind a norm and around a residual connection.</summary>
public sealed class LlamaBlock : nn.Module<Tensor, Tensor>
{
    // Fields are named as in the checkpoint: TorchSharp registers modules and parameters under the names of their fields.
    private readonly RmsNorm input_layernorm;
    private readonly RmsNorm post_attention_layernorm;
    private readonly LlamaAttention self_attn;
    private readonly LlamaFeedForward mlp;

    internal LlamaBlock(LlamaConfig config, RotaryTable rotary)
        : base(nameof(LlamaBlock))
    {
        input_layernorm = new RmsNorm(config.HiddenSize, config.NormEpsilon);
        self_attn = new LlamaAttention(config, rotary);
        post_attention_layernorm = new RmsNorm(config.HiddenSize, config.NormEpsilon);
        mlp = new LlamaFeedForward(config);
        RegisterComponents();
    }

    /// <summary>The names of a block's linear layers inside it, in the order of the stages.</summary>
    public static IReadOnlyList<string> LayerNames { get; } =
        ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj", "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"];

    internal RmsNorm InputNorm => input_layernorm;

    internal LlamaAttention Attention => self_attn;

    internal RmsNorm FeedForwardNorm => post_attention_layernorm;

    internal LlamaFeedForward FeedForward => mlp;

    /// <summary>The linear layers of a stage, by their names inside the block.</summary>
    public IReadOnlyList<KeyValuePair<string, QuantizableLinear>> Linears(BlockStage stage) => stage switch
    {
        BlockStage.AttentionInput => [new("self_attn.q_proj", self_attn.Query), new("self_attn.k_proj", self_attn.Key), new("self_attn.v_proj", self_attn.Value)],
        BlockStage.AttentionOutput => [new("self_attn.o_proj", self_attn.Output)],
        BlockStage.FeedForwardInput => [new("mlp.gate_proj", mlp.Gate), new("mlp.up_proj", mlp.Up)],
        BlockStage.FeedForwardOutput => [new("mlp.down_proj", mlp.Down)],
        _ => throw new ArgumentOutOfRangeException(nameof(stage), stage, null),
    };

    /// <summary>The norm, by its name inside a block, whose output the layers of a stage read; null where they read no norm's.</summary>
    internal static string? NormName(BlockStage stage) => stage switch
    {
        BlockStage.AttentionInput => nameof(input_layernorm),
        BlockStage.FeedForwardInput => nameof(post_attention_layernorm),
        _ => null,
    };

    /// <summary>What the layers of a stage read when the block runs on an input from position 0.</summary>
    /// <param name="stage">The stage.</param>
    /// <param name="x">The block's input, [batch, length, hidden].</param>
    public Tensor InputOf(BlockStage stage, Tensor x) => Trace(stage, x).Input;

    /// <summary>What the layers of a stage read, and the residual stream that their output is added to; null where it is not.</summary>
    internal (Tensor Input, Tensor? Residual) Trace(BlockStage stage, Tensor x)
    {
        var normed = input_layernorm.forward(x);
        if (stage == BlockStage.AttentionInput)
        {
            return (normed, null);
        }

        var mixed = self_attn.Mix(normed, 0, null, 0);
        if (stage == BlockStage.AttentionOutput)
        {
            return (mixed, x);
        }

        x = x + self_attn.Output.forward(mixed);
        normed = post_attention_layernorm.forward(x);
        return stage == BlockStage.FeedForwardInput ? (normed, null) : (mlp.Product(normed), x);
    }

    /// <inheritdoc/>
    public override Tensor forward(Tensor input) => Run(input, 0, null, 0);

    internal Tensor Run(Tensor x, int start, KeyValueCache? cache, int layer)
    {
        x = x + self_attn.Output.forward(self_attn.Mix(input_layernorm.forward(x), start, cache, layer));
        return x + mlp.Down.forward(mlp.Product(post_attention_layernorm.forward(x)));
    }
}

/// <summary>The feed-forward part: SwiGLU (Shazeer 2020).</summary>
internal sealed class LlamaFeedForward : nn.Module
{
    private readonly QuantizableLinear gate_proj;
    private readonly QuantizableLinear up_proj;
    private readonly QuantizableLinear down_proj;

    public LlamaFeedForward(LlamaConfig config)
        : base(nameof(LlamaFeedForward))
    {
        gate_proj = new QuantizableLinear(config.HiddenSize, config.IntermediateSize, config.FeedForwardBias);
        up_proj = new QuantizableLinear(config.HiddenSize, config.IntermediateSize, config.FeedForwardBias);
        down_proj = new QuantizableLinear(config.IntermediateSize, config.HiddenSize, config.FeedForwardBias);
        RegisterComponents();
    }

    public QuantizableLinear Gate => gate_proj;

    public QuantizableLinear Up => up_proj;

    public QuantizableLinear Down => down_proj;

    /// <summary>What the down projection reads.</summary>
    public Tensor Product(Tensor x)
    {
        var projected = QuantizableLinear.Project(x, gate_proj, up_proj);
        return F.silu(projected[0]) * projected[1];
    }
}
