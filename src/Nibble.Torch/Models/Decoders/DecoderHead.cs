using Nibble.Models.Decoders;
using Nibble.Torch.Layers;
using Nibble.Torch.Native;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace Nibble.Torch.Models.Decoders;

/// <summary>The part after the last block of a model whose head is a separate matrix: the final norm and the head.</summary>
internal sealed class DecoderHead : nn.Module<Tensor, Tensor>, IQuantizableBlock
{
    private readonly RmsNorm norm;
    private readonly QuantizableLinear lm_head;

    private readonly DecoderConfig config;

    public DecoderHead(DecoderConfig config)
        : base(nameof(DecoderHead))
    {
        this.config = config;
        norm = new RmsNorm(config.HiddenSize, config.NormEpsilon, config.NormsAddOne);
        lm_head = new QuantizableLinear(config.HiddenSize, config.VocabularySize, bias: false);
        RegisterComponents();
        Stages = [new BlockStage([new(DecoderConfig.HeadName, lm_head)], input => new StageTrace(norm.forward(input.Hidden)))];
    }

    public nn.Module Module => this;

    public IReadOnlyList<KeyValuePair<string, Parameter>> Parameters =>
        [KeyValuePair.Create(DecoderConfig.NormName, norm.Weight), KeyValuePair.Create(DecoderConfig.HeadName + ".weight", lm_head.Weight)];

    public IReadOnlyList<BlockStage> Stages { get; }

    public RmsNorm Norm => norm;

    public QuantizableLinear Linear => lm_head;

    public override Tensor forward(Tensor input) => Logits(lm_head.forward(norm.forward(input)), config);

    /// <summary>The logits that the head's products become.</summary>
    public static Tensor Logits(Tensor products, DecoderConfig config)
    {
        var logits = config.LogitScale == 1 ? products : products.Times(config.LogitScale);
        return config.LogitCap is { } cap ? logits.DividedBy(cap).tanh().Times(cap) : logits;
    }

    public Tensor Compute(BlockInput input) => forward(input.Hidden);
}
