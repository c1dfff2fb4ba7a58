using Nibble.Models;
using Nibble.Models.Bert;
using Nibble.Torch.Layers;
using Nibble.Torch.Native;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace Nibble.Torch.Models.Bert;

/// <summary>A BERT-family encoder. Its parameters have the names of Hugging Face checkpoints.</summary>
/// <remarks>
/// BERT (Devlin et al. 2019), RoBERTa (Liu et al. 2019) and DistilBERT (Sanh et al. 2019) are the same encoder. They differ in the names of their tensors
/// and in how they compute logits from the first token's vector. Every linear layer is a <see cref="QuantizableLinear"/>.
/// </remarks>
internal sealed class BertModel : nn.Module<Tensor, Tensor, Tensor>, IQuantizableModel
{
    private readonly Encoder encoder;
    private readonly BertHead? head;

    /// <summary>Creates a model with uninitialised weights.</summary>
    public BertModel(BertConfig config)
        : base(LoadLibrary())
    {
        ArgumentNullException.ThrowIfNull(config);
        Config = config;
        encoder = new Encoder(config);
        head = config.HasClassifier
            ? new BertHead(config, encoder.Pooler?.Dense ?? BertHead.CreatePooler(config), BertHead.CreateClassifier(config))
            : null;
        register_module(config.ModelType, encoder);
        foreach (var (name, module) in head?.Children ?? [])
        {
            register_module(name, module);
        }

        var layers = named_modules().Where(item => item.module is IQuantizableLayer)
            .ToDictionary(item => item.name, item => (IQuantizableLayer)item.module, StringComparer.Ordinal);
        Layers = [.. config.QuantizableLayers.Select(layer => KeyValuePair.Create(layer.Name, layers[layer.Name]))];
        Linears = [.. QuantizableModels.Linears(this)];
    }

    /// <summary>The model's shape.</summary>
    public BertConfig Config { get; }

    /// <inheritdoc/>
    public ModelDefinition Definition => Config;

    /// <inheritdoc/>
    public nn.Module Module => this;

    /// <inheritdoc/>
    public IReadOnlyList<IQuantizableBlock> Blocks => encoder.Layers;

    /// <inheritdoc/>
    public IReadOnlyList<KeyValuePair<string, IQuantizableLayer>> Layers { get; }

    /// <summary>The linear layers by name, in the model's order.</summary>
    public IReadOnlyList<KeyValuePair<string, QuantizableLinear>> Linears { get; }

    /// <inheritdoc/>
    public bool Recompute { get; set; }

    /// <summary>Computes the output of the model's task.</summary>
    /// <param name="input">Token ids, int64 [batch, length]. Sequences start at their first token and are padded at the end.</param>
    /// <param name="mask">True for tokens that are not padding, bool [batch, length].</param>
    /// <returns>Logits, [batch, labels], or vectors, [batch, hidden].</returns>
    /// <exception cref="NibbleException">The sequences are longer than the model's position table, or the model has no head.</exception>
    public override Tensor forward(Tensor input, Tensor mask) => Compute(new ModelBatch(input, mask));

    /// <inheritdoc/>
    /// <exception cref="NibbleException">The sequences are longer than the model's position table, or the model has no head.</exception>
    public Tensor Compute(ModelBatch batch, IList<Tensor>? blocks = null)
    {
        ArgumentNullException.ThrowIfNull(batch);
        if (batch.Ids.shape[1] > Config.MaxSequence)
        {
            throw new NibbleException($"a sequence of {batch.Ids.shape[1]} tokens is longer than this model's {Config.MaxSequence} positions. Shorten it");
        }

        Tensor x;
        using (TokenMask.Begin(batch.Mask))
        {
            x = encoder.Embeddings.Embed(batch);
            foreach (var layer in encoder.Layers)
            {
                x = Recompute ? Recomputation.Run(x, input => Masked(layer, input, batch.Mask)) : layer.Compute(new BlockInput(x, batch.Mask));
                blocks?.Add(x);
            }
        }

        // Pooling reads one vector per sequence, and none of them belongs to padding.
        return head is not null ? head.Apply(x.select(1, 0), training)
            : Config.Head == ModelTask.Embedding ? SentencePooling.Apply(x, batch.Mask, Config.Pooling, Config.Normalizes)
            : throw new NibbleException("the model has no head, so its task is unknown. Specify the task");
    }

    /// <summary>Recomputes a layer's output in the backward pass.</summary>
    private static Tensor Masked(EncoderLayer layer, Tensor input, Tensor? mask)
    {
        using var pass = TokenMask.Begin(mask);
        return layer.Compute(new BlockInput(input, mask));
    }

    /// <inheritdoc/>
    /// <remarks>
    /// As in BERT: weights are drawn from a normal distribution with the configuration's standard deviation (0.02). The padding token's row and biases are 0,
    /// and norms are 1.
    /// </remarks>
    public void Initialize(Generator generator, Func<string, bool>? drawn = null)
    {
        using var scope = NewDisposeScope();
        using var guard = no_grad();
        foreach (var (name, parameter) in named_parameters().Where(item => drawn?.Invoke(item.name) != false))
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

    // The base class's constructor already calls libtorch.
    private static string LoadLibrary()
    {
        TorchRuntime.EnsureLoaded();
        return nameof(BertModel);
    }

    /// <summary>The embeddings, the layers and, for BERT, the pooler.</summary>
    private sealed class Encoder : nn.Module
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
            pooler = config.HasClassifier && config.ModelType == "bert" ? new DenseLayer(config.HiddenSize, config.HiddenSize) : null;
            RegisterComponents();
            Layers = layers.Layers;
        }

        public BertEmbeddings Embeddings => embeddings;

        public IReadOnlyList<EncoderLayer> Layers { get; }

        public DenseLayer? Pooler => pooler;
    }

    private sealed class LayerStack : nn.Module
    {
        private readonly ModuleList<EncoderLayer> layer;

        public LayerStack(BertConfig config)
            : base(nameof(LayerStack))
        {
            layer = new ModuleList<EncoderLayer>([.. Enumerable.Range(0, config.Layers).Select(_ => EncoderLayer.Create(config))]);
            RegisterComponents();
            Layers = [.. layer];
        }

        public IReadOnlyList<EncoderLayer> Layers { get; }
    }
}
