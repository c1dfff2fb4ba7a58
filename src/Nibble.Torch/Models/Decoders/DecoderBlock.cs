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
    private readonly RmsNorm? beforeAttention;
    private readonly RmsNorm? afterAttention;
    private readonly RmsNorm? beforeFeedForward;
    private readonly RmsNorm? afterFeedForward;
    private readonly DecoderAttention attention;
    private readonly DecoderFeedForward feedForward;

    internal DecoderBlock(DecoderConfig config, DecoderLayer layer, RotaryTables tables)
        : base(nameof(DecoderBlock))
    {
        this.config = config;

        // Registered by the names that the checkpoint has, norms first, as fields would be.
        beforeAttention = Norm(config.Norms.BeforeAttention);
        afterAttention = Norm(config.Norms.AfterAttention);
        beforeFeedForward = Norm(config.Norms.BeforeFeedForward);
        afterFeedForward = Norm(config.Norms.AfterFeedForward);
        attention = new DecoderAttention(config, layer, tables);
        feedForward = new DecoderFeedForward(config);
        register_module(AttentionName, attention);
        register_module(FeedForwardName, feedForward);
        Stages =
        [
            new BlockStage(Named(AttentionName, attention.Inputs), input => Trace(AttentionInput, input.Hidden))
            {
                Producer = ProducerOf(beforeAttention, config.Norms.BeforeAttention),
            },
            new BlockStage([new($"{AttentionName}.o_proj", attention.Output)], input => Trace(AttentionOutput, input.Hidden))
            {
                Producer = new LinearProducer(attention.Value, attention.Share, attention.HeadSize),
            },
            new BlockStage(Named(FeedForwardName, feedForward.Inputs), input => Trace(FeedForwardInput, input.Hidden))
            {
                Producer = ProducerOf(beforeFeedForward, config.Norms.BeforeFeedForward),
            },
            new BlockStage([new($"{FeedForwardName}.down_proj", feedForward.Down)], input => Trace(FeedForwardOutput, input.Hidden))
            {
                Producer = new LinearProducer(feedForward.Up),
            },
        ];
    }

    private const string AttentionName = "attention";
    private const string FeedForwardName = "mlp";

    /// <inheritdoc/>
    public nn.Module Module => this;

    /// <inheritdoc/>
    public IReadOnlyList<BlockStage> Stages { get; }

    string IKeyValueBlock.Attention => AttentionName;

    /// <inheritdoc/>
    public (int Heads, int Size) KeyValueHeads => (attention.KeyValueHeads, attention.HeadSize);

    /// <inheritdoc/>
    public ITensorQuantizer? KeyQuantizer
    {
        get => attention.KeyQuantizer;
        set => attention.KeyQuantizer = value;
    }

    /// <inheritdoc/>
    public ITensorQuantizer? ValueQuantizer
    {
        get => attention.ValueQuantizer;
        set => attention.ValueQuantizer = value;
    }

    /// <inheritdoc/>
    public HadamardTransform? HeadRotation
    {
        get => attention.HeadRotation;
        set => attention.HeadRotation = value;
    }

    /// <inheritdoc/>
    public Tensor UnrotatedKeys(BlockInput input) => attention.UnrotatedKeys(Normed(beforeAttention, input.Hidden));

    /// <inheritdoc/>
    public Tensor RotateKeys(Tensor keys, int start) => attention.Rotate(keys, start);

    /// <inheritdoc/>
    public Tensor Compute(BlockInput input) => forward(input.Hidden);

    internal RmsNorm? InputNorm => beforeAttention;

    internal DecoderAttention Attention => attention;

    internal RmsNorm? FeedForwardNorm => beforeFeedForward;

    internal DecoderFeedForward FeedForward => feedForward;

    /// <inheritdoc/>
    public override Tensor forward(Tensor input) => Run(input, 0, null, 0);

    internal Tensor Run(Tensor x, int start, KeyValueCache? cache, int layer)
    {
        x = AddAttention(x, attention.Mix(Normed(beforeAttention, x), start, cache, layer));
        return Add(x, feedForward.Down.forward(feedForward.Product(Normed(beforeFeedForward, x))), afterFeedForward);
    }

    private StageTrace Trace(int stage, Tensor x)
    {
        var normed = Normed(beforeAttention, x);
        if (stage == AttentionInput)
        {
            return new StageTrace(normed);
        }

        var mixed = attention.Mix(normed, 0, null, 0);
        if (stage == AttentionOutput)
        {
            return new StageTrace(mixed, Residual(x, afterAttention));
        }

        x = AddAttention(x, mixed);
        normed = Normed(beforeFeedForward, x);
        return stage == FeedForwardInput ? new StageTrace(normed) : new StageTrace(feedForward.Product(normed), Residual(x, afterFeedForward));
    }

    private Tensor AddAttention(Tensor x, Tensor mixed) => Add(x, attention.Output.forward(mixed), afterAttention);

    private Tensor Add(Tensor x, Tensor output, RmsNorm? after)
    {
        output = Normed(after, output);
        return x.Plus(config.ResidualScale == 1 ? output : output.Times(config.ResidualScale));
    }

    /// <summary>The residual stream if a layer's output is added to it just so; null if it is normalized or scaled first.</summary>
    private Tensor? Residual(Tensor x, RmsNorm? after) => after is null && config.ResidualScale == 1 ? x : null;

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
