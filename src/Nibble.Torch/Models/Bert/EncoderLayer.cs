using System.Diagnostics.CodeAnalysis;
using Nibble.Models.Bert;
using Nibble.Torch.Layers;
using Nibble.Torch.Native;
using TorchSharp.Modules;
using static TorchSharp.torch;
using F = TorchSharp.torch.nn.functional;

namespace Nibble.Torch.Models.Bert;

/// <summary>
/// One encoder layer (Devlin et al. 2019): attention and a feed-forward part. Each has a residual connection, followed by a norm.
/// </summary>
/// <remarks>The families share this code. Derived classes define the names of their tensors.</remarks>
internal abstract class EncoderLayer(BertConfig config, string name) : nn.Module<Tensor, Tensor>(name), IQuantizableBlock
{
    public static EncoderLayer Create(BertConfig config) => config.IsDistilBert ? new DistilBertLayer(config) : new BertLayer(config);

    public nn.Module Module => this;

    /// <remarks>
    /// The output of the norms also goes into the residual stream. Channel factors can therefore only be moved into the value projection.
    /// </remarks>
    public IReadOnlyList<BlockStage> Stages => stages ??=
    [
        new BlockStage(Named(Query, Key, Value), input => new StageTrace(input.Hidden)),
        new BlockStage(Named(AttentionOutput), input => new StageTrace(Mix(input), input.Hidden)) { Producer = new LinearProducer(new LinearRows(Value)) },
        new BlockStage(Named(Up), input => new StageTrace(Attend(input))),
        new BlockStage(Named(Down), input => Attend(input) is var x ? new StageTrace(Widen(x), x) : default),
    ];

    private IReadOnlyList<BlockStage>? stages;

    protected abstract QuantizableLinear Query { get; }

    protected abstract QuantizableLinear Key { get; }

    protected abstract QuantizableLinear Value { get; }

    protected abstract QuantizableLinear AttentionOutput { get; }

    protected abstract LayerNorm AttentionNorm { get; }

    protected abstract QuantizableLinear Up { get; }

    protected abstract QuantizableLinear Down { get; }

    protected abstract LayerNorm OutputNorm { get; }

    public override Tensor forward(Tensor input) => Compute(new BlockInput(input));

    public Tensor Compute(BlockInput input)
    {
        var x = Attend(input);
        return OutputNorm.call(x.Plus(F.dropout(Down.call(Widen(x)), config.HiddenDropout, training)));
    }

    /// <summary>The input of attention's output projection.</summary>
    private Tensor Mix(BlockInput input)
    {
        var x = input.Hidden;
        var heads = Array.ConvertAll(
            QuantizableLinear.Project(x, Query, Key, Value), part => part.view(part.shape[0], part.shape[1], config.Heads, -1).transpose(1, 2));
        var mask = input.Mask?.unsqueeze(1).unsqueeze(1);
        return F.scaled_dot_product_attention(heads[0], heads[1], heads[2], mask, training ? config.AttentionDropout : 0).transpose(1, 2).reshape(x.shape);
    }

    /// <summary>The residual stream after attention and its norm.</summary>
    private Tensor Attend(BlockInput input) =>
        AttentionNorm.call(input.Hidden.Plus(F.dropout(AttentionOutput.call(Mix(input)), config.HiddenDropout, training)));

    private Tensor Widen(Tensor x) => F.gelu(Up.call(x));

    private KeyValuePair<string, QuantizableLinear>[] Named(params ReadOnlySpan<QuantizableLinear> layers)
    {
        var names = named_modules().Where(item => item.module is QuantizableLinear).ToDictionary(item => (QuantizableLinear)item.module, item => item.name);
        return [.. layers.ToArray().Select(layer => KeyValuePair.Create(names[layer], layer))];
    }
}

/// <summary>A layer with the tensor names of BERT and RoBERTa.</summary>
internal sealed class BertLayer : EncoderLayer
{
    // TorchSharp registers modules and parameters under the names of their fields, so fields have the checkpoint's names.
    private readonly BertAttention attention;
    private readonly DenseLayer intermediate;
    private readonly NormedLayer output;

    public BertLayer(BertConfig config)
        : base(config, nameof(BertLayer))
    {
        attention = new BertAttention(config);
        intermediate = new DenseLayer(config.HiddenSize, config.IntermediateSize);
        output = new NormedLayer(config, config.IntermediateSize);
        RegisterComponents();
    }

    protected override QuantizableLinear Query => attention.Projections.Query;

    protected override QuantizableLinear Key => attention.Projections.Key;

    protected override QuantizableLinear Value => attention.Projections.Value;

    protected override QuantizableLinear AttentionOutput => attention.Output.Dense;

    protected override LayerNorm AttentionNorm => attention.Output.Norm;

    protected override QuantizableLinear Up => intermediate.Dense;

    protected override QuantizableLinear Down => output.Dense;

    protected override LayerNorm OutputNorm => output.Norm;

    private sealed class BertAttention : nn.Module
    {
        private readonly BertProjections self;
        private readonly NormedLayer output;

        public BertAttention(BertConfig config)
            : base(nameof(BertAttention))
        {
            self = new BertProjections(config.HiddenSize);
            output = new NormedLayer(config, config.HiddenSize);
            RegisterComponents();
        }

        public BertProjections Projections => self;

        public NormedLayer Output => output;
    }

    private sealed class BertProjections : nn.Module
    {
        private readonly QuantizableLinear query;
        private readonly QuantizableLinear key;
        private readonly QuantizableLinear value;

        public BertProjections(int hidden)
            : base(nameof(BertProjections))
        {
            query = new QuantizableLinear(hidden, hidden, bias: true);
            key = new QuantizableLinear(hidden, hidden, bias: true);
            value = new QuantizableLinear(hidden, hidden, bias: true);
            RegisterComponents();
        }

        public QuantizableLinear Query => query;

        public QuantizableLinear Key => key;

        public QuantizableLinear Value => value;
    }

    private sealed class NormedLayer : nn.Module
    {
        private readonly QuantizableLinear dense;
        [SuppressMessage("Style", "IDE1006", Justification = "Checkpoints name the tensor so, and modules take the names of their fields.")]
        private readonly LayerNorm LayerNorm;

        public NormedLayer(BertConfig config, int inFeatures)
            : base(nameof(NormedLayer))
        {
            dense = new QuantizableLinear(inFeatures, config.HiddenSize, bias: true);
            LayerNorm = nn.LayerNorm(config.HiddenSize, config.NormEpsilon);
            RegisterComponents();
        }

        public QuantizableLinear Dense => dense;

        public LayerNorm Norm => LayerNorm;
    }
}

/// <summary>A layer with the tensor names of DistilBERT.</summary>
internal sealed class DistilBertLayer : EncoderLayer
{
    private readonly DistilBertAttention attention;
    private readonly LayerNorm sa_layer_norm;
    private readonly DistilBertFeedForward ffn;
    private readonly LayerNorm output_layer_norm;

    public DistilBertLayer(BertConfig config)
        : base(config, nameof(DistilBertLayer))
    {
        attention = new DistilBertAttention(config.HiddenSize);
        sa_layer_norm = nn.LayerNorm(config.HiddenSize, config.NormEpsilon);
        ffn = new DistilBertFeedForward(config);
        output_layer_norm = nn.LayerNorm(config.HiddenSize, config.NormEpsilon);
        RegisterComponents();
    }

    protected override QuantizableLinear Query => attention.Query;

    protected override QuantizableLinear Key => attention.Key;

    protected override QuantizableLinear Value => attention.Value;

    protected override QuantizableLinear AttentionOutput => attention.Output;

    protected override LayerNorm AttentionNorm => sa_layer_norm;

    protected override QuantizableLinear Up => ffn.Up;

    protected override QuantizableLinear Down => ffn.Down;

    protected override LayerNorm OutputNorm => output_layer_norm;

    private sealed class DistilBertAttention : nn.Module
    {
        private readonly QuantizableLinear q_lin;
        private readonly QuantizableLinear k_lin;
        private readonly QuantizableLinear v_lin;
        private readonly QuantizableLinear out_lin;

        public DistilBertAttention(int hidden)
            : base(nameof(DistilBertAttention))
        {
            q_lin = new QuantizableLinear(hidden, hidden, bias: true);
            k_lin = new QuantizableLinear(hidden, hidden, bias: true);
            v_lin = new QuantizableLinear(hidden, hidden, bias: true);
            out_lin = new QuantizableLinear(hidden, hidden, bias: true);
            RegisterComponents();
        }

        public QuantizableLinear Query => q_lin;

        public QuantizableLinear Key => k_lin;

        public QuantizableLinear Value => v_lin;

        public QuantizableLinear Output => out_lin;
    }

    private sealed class DistilBertFeedForward : nn.Module
    {
        private readonly QuantizableLinear lin1;
        private readonly QuantizableLinear lin2;

        public DistilBertFeedForward(BertConfig config)
            : base(nameof(DistilBertFeedForward))
        {
            lin1 = new QuantizableLinear(config.HiddenSize, config.IntermediateSize, bias: true);
            lin2 = new QuantizableLinear(config.IntermediateSize, config.HiddenSize, bias: true);
            RegisterComponents();
        }

        public QuantizableLinear Up => lin1;

        public QuantizableLinear Down => lin2;
    }
}

/// <summary>A linear layer that checkpoints call <c>dense</c>, inside a module with its own name.</summary>
internal sealed class DenseLayer : nn.Module
{
    private readonly QuantizableLinear dense;

    public DenseLayer(int inFeatures, int outFeatures)
        : base(nameof(DenseLayer))
    {
        dense = new QuantizableLinear(inFeatures, outFeatures, bias: true);
        RegisterComponents();
    }

    public QuantizableLinear Dense => dense;
}
