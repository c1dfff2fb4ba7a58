using Nibble.Models.Bert;
using Nibble.Torch.Layers;
using TorchSharp.Modules;
using static TorchSharp.torch;
using F = TorchSharp.torch.nn.functional;

namespace Nibble.Torch.Models.Bert;

/// <summary>What turns the first token's vector into logits: a pooler and a classifier.</summary>
internal sealed class BertHead
{
    private readonly BertConfig config;
    private readonly QuantizableLinear pooler;
    private readonly QuantizableLinear classifier;

    /// <param name="config">The model's shape.</param>
    /// <param name="pooler">BERT's pooler, which is its encoder's, or the head's own.</param>
    /// <param name="classifier">The classifier.</param>
    public BertHead(BertConfig config, QuantizableLinear pooler, QuantizableLinear classifier)
    {
        this.config = config;
        this.pooler = pooler;
        this.classifier = classifier;
        Children = config.IsRoberta ? [("classifier", new RobertaHead(pooler, classifier))]
            : config.IsDistilBert ? [("pre_classifier", pooler), ("classifier", classifier)]
            : [("classifier", classifier)];
    }

    /// <summary>What the model has to register, by name; without the pooler that is the encoder's.</summary>
    public IReadOnlyList<(string Name, nn.Module Module)> Children { get; }

    /// <summary>A layer as wide as the model.</summary>
    public static QuantizableLinear CreatePooler(BertConfig config) => new(config.HiddenSize, config.HiddenSize, bias: true);

    /// <summary>A layer that yields a value for each class.</summary>
    public static QuantizableLinear CreateClassifier(BertConfig config) => new(config.HiddenSize, config.Labels, bias: true);

    public QuantizableLinear Pooler => pooler;

    public QuantizableLinear Classifier => classifier;

    /// <summary>The logits, [batch, labels], of first tokens' vectors, [batch, hidden].</summary>
    public Tensor Apply(Tensor first, bool training)
    {
        var x = config.IsRoberta ? F.dropout(first, config.ClassifierDropout, training) : first;
        return classifier.call(F.dropout(Pool(x), config.ClassifierDropout, training));
    }

    /// <summary>What the classifier reads.</summary>
    public Tensor Pool(Tensor first) => config.IsDistilBert ? F.relu(pooler.call(first)) : pooler.call(first).tanh();

    // Fields are named as in the checkpoint: TorchSharp registers modules and parameters under the names of their fields.
    private sealed class RobertaHead : nn.Module
    {
        private readonly QuantizableLinear dense;
        private readonly QuantizableLinear out_proj;

        public RobertaHead(QuantizableLinear pooler, QuantizableLinear classifier)
            : base(nameof(RobertaHead))
        {
            (dense, out_proj) = (pooler, classifier);
            RegisterComponents();
        }
    }
}

/// <summary>The head as a part of its own.</summary>
internal sealed class BertHeadBlock : nn.Module, IQuantizableBlock
{
    private readonly BertHead head;
    private readonly string[] names;

    public BertHeadBlock(BertConfig config)
        : base(nameof(BertHeadBlock))
    {
        head = new BertHead(config, BertHead.CreatePooler(config), BertHead.CreateClassifier(config));
        names = [.. config.HeadTensors.Select(tensor => tensor.Name[..tensor.Name.LastIndexOf('.')]).Distinct()];
        register_module("pooler", head.Pooler);
        register_module("classifier", head.Classifier);
        Stages =
        [
            new BlockStage([new(names[0], head.Pooler)], input => new StageTrace(input.Hidden.select(1, 0))),
            new BlockStage([new(names[1], head.Classifier)], input => new StageTrace(head.Pool(input.Hidden.select(1, 0)))),
        ];
    }

    public nn.Module Module => this;

    public IReadOnlyList<KeyValuePair<string, Parameter>> Parameters =>
    [
        .. ((QuantizableLinear[])[head.Pooler, head.Classifier]).Zip(names).SelectMany(layer => layer.First.named_parameters()
            .Select(item => KeyValuePair.Create($"{layer.Second}.{item.name}", item.parameter))),
    ];

    public IReadOnlyList<BlockStage> Stages { get; }

    public Tensor Compute(BlockInput input) => head.Apply(input.Hidden.select(1, 0), training: false);
}
