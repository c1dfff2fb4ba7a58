using Nibble.Models.Bert;
using Nibble.Torch.Layers;
using TorchSharp.Modules;
using static TorchSharp.torch;
using F = TorchSharp.torch.nn.functional;

namespace Nibble.Torch.Models.Bert;

/// <summary>Computes logits from the first token's vector: a pooler and a classifier.</summary>
internal sealed class BertHead
{
    private readonly BertConfig config;
    private readonly QuantizableLinear pooler;
    private readonly QuantizableLinear classifier;

    /// <param name="config">The model's shape.</param>
    /// <param name="pooler">BERT's pooler, which belongs to the encoder, or the head's own.</param>
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

    /// <summary>The modules that the model has to register, by name. A pooler that belongs to the encoder is not among them.</summary>
    public IReadOnlyList<(string Name, nn.Module Module)> Children { get; }

    /// <summary>Creates a layer as wide as the model.</summary>
    public static QuantizableLinear CreatePooler(BertConfig config) => new(config.HiddenSize, config.HiddenSize, bias: true);

    /// <summary>Creates a layer with one output per class.</summary>
    public static QuantizableLinear CreateClassifier(BertConfig config) => new(config.HiddenSize, config.Labels, bias: true);

    public QuantizableLinear Pooler => pooler;

    public QuantizableLinear Classifier => classifier;

    /// <summary>Logits, [batch, labels], from the vectors of the first tokens, [batch, hidden].</summary>
    public Tensor Apply(Tensor first, bool training)
    {
        var x = config.IsRoberta ? F.dropout(first, config.ClassifierDropout, training) : first;
        return classifier.call(F.dropout(Pool(x), config.ClassifierDropout, training));
    }

    /// <summary>The input of the classifier.</summary>
    public Tensor Pool(Tensor first) => config.IsDistilBert ? F.relu(pooler.call(first)) : pooler.call(first).tanh();

    // TorchSharp registers modules and parameters under the names of their fields, so fields have the checkpoint's names.
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

/// <summary>The head as a separate part of the model.</summary>
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
