using Nibble.Models.Decoders;
using Nibble.Torch.Layers;
using Nibble.Torch.Native;
using static TorchSharp.torch;
using F = TorchSharp.torch.nn.functional;

namespace Nibble.Torch.Models.Decoders;

/// <summary>One decoder block: attention and a feed-forward part with a residual connection each, and norms of their inputs, outputs or both.</summary>
public sealed class DecoderBlock : nn.Module<Tensor, Tensor>, IKeyValueBlock
{
    /// <summary>The index of the stage of the query, key and value projections, which read the residual stream.</summary>
    internal const int AttentionInput = 0;

    /// <summary>The index of the stage of attention's output projection, which reads the attention output of all heads.</summary>
    internal const int AttentionOutput = 1;

    /// <summary>The index of the stage of the gate and up projections, which read the residual stream.</summary>
    internal const int FeedForwardInput = 2;

    /// <summary>The index of the stage of the down projection, which reads the gated product.</summary>
    internal const int FeedForwardOutput = 3;

    private readonly DecoderConfig config;
    private readonly BlockNorms norms;

    // TorchSharp registers modules and parameters under the names of their fields, so fields have the checkpoint's names.
    private readonly DecoderAttention self_attn;
    private readonly DecoderFeedForward mlp;

    internal DecoderBlock(DecoderConfig config, DecoderLayer layer, RotaryTables tables)
        : base(nameof(DecoderBlock))
    {
        this.config = config;
        norms = new BlockNorms(
            Norm(config.Norms.BeforeAttention), Norm(config.Norms.AfterAttention), Norm(config.Norms.BeforeFeedForward), Norm(config.Norms.AfterFeedForward));
        self_attn = new DecoderAttention(config, layer, tables);
        mlp = new DecoderFeedForward(config);
        RegisterComponents();
        Stages =
        [
            new BlockStage(Named(nameof(self_attn), self_attn.Inputs), input => Trace(AttentionInput, input.Hidden))
            {
                Producer = ProducerOf(norms.BeforeAttention, config.Norms.BeforeAttention),
            },
            new BlockStage([new($"{nameof(self_attn)}.o_proj", self_attn.Output)], input => Trace(AttentionOutput, input.Hidden))
            {
                Producer = new LinearProducer(self_attn.Value, self_attn.Share, self_attn.HeadSize),
            },
            new BlockStage(Named(nameof(mlp), mlp.Inputs), input => Trace(FeedForwardInput, input.Hidden))
            {
                Producer = ProducerOf(norms.BeforeFeedForward, config.Norms.BeforeFeedForward),
            },
            new BlockStage([new($"{nameof(mlp)}.down_proj", mlp.Down)], input => Trace(FeedForwardOutput, input.Hidden))
            {
                Producer = new LinearProducer(mlp.Up),
            },
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
    public Tensor UnrotatedKeys(BlockInput input) => self_attn.UnrotatedKeys(Normed(norms.BeforeAttention, input.Hidden));

    /// <inheritdoc/>
    public Tensor RotateKeys(Tensor keys, int start) => self_attn.Rotate(keys, start);

    /// <inheritdoc/>
    public Tensor Compute(BlockInput input) => forward(input.Hidden);

    internal RmsNorm? InputNorm => norms.BeforeAttention;

    internal DecoderAttention Attention => self_attn;

    internal RmsNorm? FeedForwardNorm => norms.BeforeFeedForward;

    internal DecoderFeedForward FeedForward => mlp;

    /// <inheritdoc/>
    public override Tensor forward(Tensor input) => Run(input, 0, null, 0);

    internal Tensor Run(Tensor x, int start, KeyValueCache? cache, int layer)
    {
        x = AddAttention(x, self_attn.Mix(Normed(norms.BeforeAttention, x), start, cache, layer));
        return Add(x, mlp.Down.forward(mlp.Product(Normed(norms.BeforeFeedForward, x))), norms.AfterFeedForward);
    }

    private StageTrace Trace(int stage, Tensor x)
    {
        var normed = Normed(norms.BeforeAttention, x);
        if (stage == AttentionInput)
        {
            return new StageTrace(normed);
        }

        var mixed = self_attn.Mix(normed, 0, null, 0);
        if (stage == AttentionOutput)
        {
            return new StageTrace(mixed, Residual(x, norms.AfterAttention));
        }

        x = AddAttention(x, mixed);
        normed = Normed(norms.BeforeFeedForward, x);
        return stage == FeedForwardInput ? new StageTrace(normed) : new StageTrace(mlp.Product(normed), Residual(x, norms.AfterFeedForward));
    }

    private Tensor AddAttention(Tensor x, Tensor mixed) => Add(x, self_attn.Output.forward(mixed), norms.AfterAttention);

    private Tensor Add(Tensor x, Tensor output, RmsNorm? after)
    {
        output = Normed(after, output);
        return x.Plus(config.ResidualScale == 1 ? output : output.Times(config.ResidualScale));
    }

    /// <summary>The residual stream if a layer's output is added to it just so; null if it is normalized or scaled first.</summary>
    private Tensor? Residual(Tensor x, RmsNorm? after) => after is null && config.ResidualScale == 1 ? x : null;

    /// <summary>Creates a norm and registers it by the name that the checkpoint has.</summary>
    private RmsNorm? Norm(string? name)
    {
        if (name is null)
        {
            return null;
        }

        var norm = new RmsNorm(config.HiddenSize, config.NormEpsilon, config.NormsAddOne);
        register_module(name, norm);
        return norm;
    }

    private static Tensor Normed(RmsNorm? norm, Tensor x) => norm?.forward(x) ?? x;

    private static NormProducer? ProducerOf(RmsNorm? norm, string? name) => norm is null ? null : new NormProducer($"{name}.weight", norm.Weight, norm.Offset);

    private static IReadOnlyList<KeyValuePair<string, QuantizableLinear>> Named(
        string module, IReadOnlyList<KeyValuePair<string, QuantizableLinear>> layers) =>
        [.. layers.Select(layer => KeyValuePair.Create($"{module}.{layer.Key}", layer.Value))];

    /// <summary>The norms. They are no fields of the block, because their names depend on the family.</summary>
    private sealed record BlockNorms(RmsNorm? BeforeAttention, RmsNorm? AfterAttention, RmsNorm? BeforeFeedForward, RmsNorm? AfterFeedForward);
}

/// <summary>The feed-forward part: a gate times a projection (Shazeer 2020).</summary>
internal sealed class DecoderFeedForward : nn.Module
{
    private static readonly double GeluScale = Math.Sqrt(2 / Math.PI);

    private readonly DecoderActivation activation;
    private readonly QuantizableLinear? gate_proj;
    private readonly QuantizableLinear? up_proj;
    private readonly QuantizableLinear? gate_up_proj;
    private readonly QuantizableLinear down_proj;

    public DecoderFeedForward(DecoderConfig config)
        : base(nameof(DecoderFeedForward))
    {
        activation = config.Activation;
        var width = config.IntermediateSize;
        QuantizableLinear Project(int rows) => new(config.HiddenSize, rows, config.FeedForwardBias);
        if (config.HasFusedProjections)
        {
            gate_up_proj = Project(2 * width);
            Inputs = [new(nameof(gate_up_proj), gate_up_proj)];
            Up = new LinearRows(gate_up_proj, width, width);
        }
        else
        {
            (gate_proj, up_proj) = (Project(width), Project(width));
            Inputs = [new(nameof(gate_proj), gate_proj), new(nameof(up_proj), up_proj)];
            Up = new LinearRows(up_proj);
        }

        down_proj = new QuantizableLinear(width, config.HiddenSize, config.FeedForwardBias);
        RegisterComponents();
    }

    /// <summary>The layers of gate and up projection with their names, two or one.</summary>
    public IReadOnlyList<KeyValuePair<string, QuantizableLinear>> Inputs { get; }

    public LinearRows Up { get; }

    public QuantizableLinear Down => down_proj;

    /// <summary>The input of the down projection.</summary>
    public Tensor Product(Tensor x)
    {
        if (gate_up_proj is not null)
        {
            var both = gate_up_proj.forward(x);
            return Activate(both.narrow(-1, 0, Up.First)) * both.narrow(-1, Up.First, Up.Count);
        }

        var projected = QuantizableLinear.Project(x, gate_proj!, up_proj!);
        return Activate(projected[0]) * projected[1];
    }

    // torch.nn.functional.gelu of TorchSharp has no approximation by the hyperbolic tangent.
    private Tensor Activate(Tensor x) => activation == DecoderActivation.Silu ? F.silu(x)
        : x.Times(0.5) * x.Plus((x * x * x).Times(0.044715)).Times(GeluScale).tanh().Plus(1);
}
