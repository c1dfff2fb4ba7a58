using Nibble.Torch.Layers;
using Nibble.Torch.Native;
using TorchSharp.Modules;
using static TorchSharp.torch;
using F = TorchSharp.torch.nn.functional;

namespace Nibble.Torch.Models.Bert;

/// <summary>A BERT-family encoder that classifies sequences. Parameters carry the names of Hugging Face checkpoints.</summary>
/// <remarks>
/// BERT (Devlin et al. 2019), RoBERTa (Liu et al. 2019) and DistilBERT (Sanh et al. 2019): one encoder, three ways to name its
/// tensors and to turn the first token's vector into logits. Every linear layer is a <see cref="QuantizableLinear"/>.
/// </remarks>
public sealed class BertClassifier : nn.Module<Tensor, Tensor, Tensor>
{
    // Fields are named as in the checkpoint: TorchSharp registers modules and parameters under the names of their fields.
    private readonly Encoder? bert;
    private readonly Encoder? roberta;
    private readonly Encoder? distilbert;
    private readonly QuantizableLinear? pre_classifier;
    private readonly nn.Module classifier;

    /// <summary>Creates a model with uninitialised weights.</summary>
    public BertClassifier(BertConfig config)
        : base(LoadLibrary())
    {
        ArgumentNullException.ThrowIfNull(config);
        Config = config;
        var encoder = new Encoder(config);
        if (config.IsRoberta)
        {
            roberta = encoder;
            classifier = new RobertaHead(config);
        }
        else
        {
            bert = config.IsDistilBert ? null : encoder;
            distilbert = config.IsDistilBert ? encoder : null;
            pre_classifier = config.IsDistilBert ? new QuantizableLinear(config.HiddenSize, config.HiddenSize, bias: true) : null;
            classifier = new QuantizableLinear(config.HiddenSize, config.Labels, bias: true);
        }

        RegisterComponents();
        var linears = named_modules().Where(item => item.module is QuantizableLinear).Select(item => KeyValuePair.Create(item.name, (QuantizableLinear)item.module));

        // TorchSharp names direct children first, and so the head before the encoder.
        Linears = [.. linears.OrderBy(linear => linear.Key.Split('.')[0] is nameof(pre_classifier) ? 1 : linear.Key.Split('.')[0] is nameof(classifier) ? 2 : 0)];
    }

    /// <summary>The model's shape.</summary>
    public BertConfig Config { get; }

    /// <summary>The linear layers by name, in the model's order: what a recipe decides about.</summary>
    public IReadOnlyList<KeyValuePair<string, QuantizableLinear>> Linears { get; }

    /// <summary>Values in all parameters.</summary>
    public long ParameterCount => parameters().Sum(parameter => parameter.numel());

    private Encoder Body => bert ?? roberta ?? distilbert!;

    /// <summary>The logits of the classes of each sequence.</summary>
    /// <param name="input">Token ids, int64 [batch, length], each sequence from its first token on and padded at its end.</param>
    /// <param name="mask">Which tokens are no padding, bool [batch, length].</param>
    /// <returns>[batch, labels].</returns>
    /// <exception cref="NibbleException">The sequences are longer than the model's table of positions.</exception>
    public override Tensor forward(Tensor input, Tensor mask)
    {
        if (input.shape[1] > Config.MaxLength)
        {
            throw new NibbleException($"a sequence of {input.shape[1]} tokens is longer than this model's {Config.MaxLength} positions; cut it");
        }

        // What pools reads one vector of each sequence, none of them padding.
        Tensor first;
        using (TokenMask.Begin(mask))
        {
            first = Body.call(input, mask).select(1, 0);
        }

        if (classifier is RobertaHead head)
        {
            return head.call(first);
        }

        // BERT pools with its encoder's pooler, DistilBERT with a layer of the head's own.
        var pooled = pre_classifier is null ? Body.Pool(first) : F.relu(pre_classifier.call(first));
        return ((QuantizableLinear)classifier).call(F.dropout(pooled, Config.ClassifierDropout, training));
    }

    /// <summary>Draws all weights anew as BERT does: normal with the configuration's deviation (0.02), the padding token's row and biases 0, norms 1.</summary>
    public void Initialize(Generator generator)
    {
        using var scope = NewDisposeScope();
        using var guard = no_grad();
        foreach (var (name, parameter) in named_parameters())
        {
            if (name.EndsWith("bias", StringComparison.Ordinal))
            {
                nn.init.zeros_(parameter);
            }
            else if (parameter.dim() == 1)
            {
                nn.init.ones_(parameter);
            }
            else
            {
                // nn.init.normal_ takes a generator but draws from the global one.
                parameter.normal_(0, Config.InitializerRange, generator);
            }

            if (name.EndsWith("word_embeddings.weight", StringComparison.Ordinal))
            {
                nn.init.zeros_(parameter.select(0, Config.PaddingId));
            }
        }
    }

    // The base class's constructor calls libtorch already.
    private static string LoadLibrary()
    {
        TorchRuntime.EnsureLoaded();
        return nameof(BertClassifier);
    }

    /// <summary>Embeddings, layers and, in BERT, the pooler.</summary>
    private sealed class Encoder : nn.Module<Tensor, Tensor, Tensor>
    {
        private readonly BertEmbeddings embeddings;
        private readonly LayerStack? encoder;
        private readonly LayerStack? transformer;
        private readonly DenseLayer? pooler;

        public Encoder(BertConfig config)
            : base(nameof(Encoder))
        {
            embeddings = new BertEmbeddings(config);
            var layers = new LayerStack(config);
            encoder = config.IsDistilBert ? null : layers;
            transformer = config.IsDistilBert ? layers : null;
            pooler = config.ModelType == "bert" ? new DenseLayer(config.HiddenSize, config.HiddenSize) : null;
            RegisterComponents();
        }

        public override Tensor forward(Tensor input, Tensor mask) => (encoder ?? transformer!).call(embeddings.call(input), mask.unsqueeze(1).unsqueeze(1));

        public Tensor Pool(Tensor first) => pooler!.Dense.call(first).tanh();
    }

    private sealed class LayerStack : nn.Module<Tensor, Tensor, Tensor>
    {
        private readonly ModuleList<EncoderLayer> layer;

        public LayerStack(BertConfig config)
            : base(nameof(LayerStack))
        {
            layer = new ModuleList<EncoderLayer>([.. Enumerable.Range(0, config.Layers).Select(_ => (EncoderLayer)(config.IsDistilBert ? new DistilBertLayer(config) : new BertLayer(config)))]);
            RegisterComponents();
        }

        public override Tensor forward(Tensor input, Tensor mask) => layer.Aggregate(input, (x, next) => next.call(x, mask));
    }

    /// <summary>RoBERTa's head, which pools by itself.</summary>
    private sealed class RobertaHead : nn.Module<Tensor, Tensor>
    {
        private readonly double dropout;
        private readonly QuantizableLinear dense;
        private readonly QuantizableLinear out_proj;

        public RobertaHead(BertConfig config)
            : base(nameof(RobertaHead))
        {
            dropout = config.ClassifierDropout;
            dense = new QuantizableLinear(config.HiddenSize, config.HiddenSize, bias: true);
            out_proj = new QuantizableLinear(config.HiddenSize, config.Labels, bias: true);
            RegisterComponents();
        }

        public override Tensor forward(Tensor first) =>
            out_proj.call(F.dropout(dense.call(F.dropout(first, dropout, training)).tanh(), dropout, training));
    }
}

/// <summary>What a token is before the first layer: the sum of its word's, its position's and its type's vectors, normalised.</summary>
internal sealed class BertEmbeddings : nn.Module<Tensor, Tensor>
{
    private readonly BertConfig config;

    // Declared as what a quantized embedding is too, so that one can take their places.
    private readonly nn.Module<Tensor, Tensor> word_embeddings;
    private readonly nn.Module<Tensor, Tensor> position_embeddings;
    private readonly nn.Module<Tensor, Tensor>? token_type_embeddings;
    private readonly LayerNorm LayerNorm;

    public BertEmbeddings(BertConfig config)
        : base(nameof(BertEmbeddings))
    {
        this.config = config;
        word_embeddings = nn.Embedding(config.VocabularySize, config.HiddenSize);
        position_embeddings = nn.Embedding(config.MaxPositions, config.HiddenSize);
        token_type_embeddings = config.TokenTypes > 0 ? nn.Embedding(config.TokenTypes, config.HiddenSize) : null;
        LayerNorm = nn.LayerNorm(config.HiddenSize, config.NormEpsilon);
        RegisterComponents();
    }

    /// <param name="input">Token ids, int64 [batch, length].</param>
    /// <returns>[batch, length, hidden].</returns>
    public override Tensor forward(Tensor input)
    {
        // RoBERTa gives padding a position of its own. It need not: nothing looks at padding.
        // Made from an array: arange takes numbers, which are only safe while nothing collects (see CollectorPause).
        var positions = tensor(Enumerable.Range(config.FirstPosition, (int)input.shape[1]).Select(position => (long)position).ToArray(), device: input.device);
        var x = word_embeddings.call(input) + position_embeddings.call(positions);
        if (token_type_embeddings is { } types)
        {
            x = x + types.call(zeros_like(positions));
        }

        return F.dropout(LayerNorm.call(x), config.HiddenDropout, training);
    }
}
