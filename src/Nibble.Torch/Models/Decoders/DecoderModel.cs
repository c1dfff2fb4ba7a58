using Nibble.Models;
using Nibble.Models.Decoders;
using Nibble.Torch.Layers;
using Nibble.Torch.Native;
using TorchSharp.Modules;
using static TorchSharp.torch;
using F = TorchSharp.torch.nn.functional;

namespace Nibble.Torch.Models.Decoders;

/// <summary>A decoder: tokens in, logits out. Its parameters have the names of Hugging Face checkpoints.</summary>
/// <remarks>
/// Touvron et al. 2023 (Llama), with grouped-query attention (Ainslie et al. 2023), RMSNorm (Zhang and Sennrich 2019), rotary position embedding (Su et al.
/// 2021, in the half-rotated layout of Hugging Face) and SwiGLU (Shazeer 2020). The configuration says what other families add or do otherwise, such as
/// norms of outputs, windows by layer and caps of scores.
/// </remarks>
public sealed class DecoderModel : nn.Module<Tensor, Tensor>, IDecoder
{
    private readonly Body model;
    private readonly QuantizableLinear? lm_head;

    /// <summary>Creates a model with uninitialised weights.</summary>
    public DecoderModel(DecoderConfig config)
        : base(LoadLibrary())
    {
        Config = config;
        model = new Body(config);
        lm_head = config.TiedHead ? null : new QuantizableLinear(config.HiddenSize, config.VocabularySize, bias: false);
        RegisterComponents();
        var linears = named_modules().Where(item => item.module is QuantizableLinear)
            .Select(item => KeyValuePair.Create(item.name, (QuantizableLinear)item.module));

        // TorchSharp lists direct children first, so the head comes before the blocks.
        Linears = [.. linears.OrderBy(linear => linear.Value == lm_head)];
        Layers = [.. Linears.Select(linear => KeyValuePair.Create(linear.Key, (IQuantizableLayer)linear.Value))];
        Blocks = [.. model.Blocks];
    }

    /// <inheritdoc/>
    public ModelDefinition Definition => Config;

    /// <inheritdoc/>
    public nn.Module Module => this;

    /// <inheritdoc/>
    public IReadOnlyList<KeyValuePair<string, IQuantizableLayer>> Layers { get; }

    /// <summary>The model's shape.</summary>
    public DecoderConfig Config { get; }

    /// <summary>The linear layers by name, in the model's order. A recipe decides about these.</summary>
    public IReadOnlyList<KeyValuePair<string, QuantizableLinear>> Linears { get; }

    /// <summary>The decoder blocks, in order.</summary>
    public IReadOnlyList<DecoderBlock> Blocks { get; }

    IReadOnlyList<IQuantizableBlock> IQuantizableModel.Blocks => Blocks;

    /// <summary>Logits of the next token after every position.</summary>
    /// <param name="input">Token ids, int64 [batch, length].</param>
    /// <returns>[batch, length, vocabulary].</returns>
    public override Tensor forward(Tensor input) => Logits(input, null);

    /// <inheritdoc/>
    public Tensor Logits(Tensor tokens, KeyValueCache? cache) => Logits(tokens, cache, null);

    /// <inheritdoc/>
    public Tensor Compute(ModelBatch batch, IList<Tensor>? blocks = null)
    {
        ArgumentNullException.ThrowIfNull(batch);

        // Each position attends only to earlier ones, so padding at the end does not change the real tokens.
        return Logits(batch.Ids, null, blocks);
    }

    /// <inheritdoc/>
    public Parameter Embedding => model.Embedding;

    /// <inheritdoc/>
    public ITensorQuantizer? TiedHeadInput { get; set; }

    /// <inheritdoc/>
    public bool Recompute { get; set; }

    /// <summary>As <see cref="Logits(Tensor, KeyValueCache?)"/>, and also returns the output of each block, [batch, length, hidden].</summary>
    internal Tensor Logits(Tensor tokens, KeyValueCache? cache, IList<Tensor>? blocks)
    {
        var start = cache?.Length ?? 0;
        var end = start + (int)tokens.shape[1];
        if (Config.SlidingWindow is { } window && end > window)
        {
            throw new NibbleException($"a sequence of {end} tokens is longer than this model's sliding window of {window}. Use a shorter context");
        }

        var x = model.Forward(tokens, start, cache, Recompute, blocks);
        return DecoderHead.Logits(lm_head is not null ? lm_head.forward(x) : F.linear(TiedHeadInput?.Apply(x) ?? x, model.Embedding), Config);
    }

    /// <inheritdoc/>
    /// <remarks>
    /// Weights are drawn from a normal distribution with standard deviation 0.02. It is divided by sqrt(2 x layers) for the projections that write to the
    /// residual stream (as in GPT-2). Norms multiply by 1 and biases are 0.
    /// </remarks>
    public void Initialize(Generator generator, Func<string, bool>? drawn = null)
    {
        using var scope = NewDisposeScope();
        using var guard = no_grad();
        foreach (var (name, parameter) in named_parameters().Where(item => drawn?.Invoke(item.name) != false))
        {
            if (name.EndsWith("norm.weight", StringComparison.Ordinal))
            {
                parameter.Fill(Config.NormsAddOne ? 0 : 1);
            }
            else if (name.EndsWith("bias", StringComparison.Ordinal))
            {
                nn.init.zeros_(parameter);
            }
            else
            {
                var residual = name.Contains("o_proj", StringComparison.Ordinal) || name.Contains("down_proj", StringComparison.Ordinal);

                // nn.init.normal_ takes a generator but draws from the global one.
                parameter.normal_(0, residual ? 0.02 / Math.Sqrt(2 * Config.Layers) : 0.02, generator);
            }
        }
    }

    // The base class's constructor already calls libtorch.
    private static string LoadLibrary()
    {
        TorchRuntime.EnsureLoaded();
        return nameof(DecoderModel);
    }

    // TorchSharp registers modules and parameters under the names of their fields, so fields have the checkpoint's names.
    private sealed class Body : nn.Module
    {
        private readonly DecoderConfig config;
        private readonly TokenTable embed_tokens;
        private readonly ModuleList<DecoderBlock> layers;
        private readonly RmsNorm norm;
        private readonly RotaryTables rotary;

        public Body(DecoderConfig config)
            : base(nameof(Body))
        {
            rotary = new RotaryTables(config);
            embed_tokens = new TokenTable(config.VocabularySize, config.HiddenSize);
            layers = new ModuleList<DecoderBlock>(
                [.. Enumerable.Range(0, config.Layers).Select(layer => new DecoderBlock(config, config.LayerOf(layer), rotary))]);
            norm = new RmsNorm(config.HiddenSize, config.NormEpsilon, config.NormsAddOne);
            this.config = config;
            RegisterComponents();
        }

        public Parameter Embedding => embed_tokens.Weight;

        public ModuleList<DecoderBlock> Blocks => layers;

        public Tensor Forward(Tensor tokens, int start, KeyValueCache? cache, bool recompute, IList<Tensor>? blocks)
        {
            var x = DecoderInput.Scaled(Embedding.index_select(0, tokens.reshape(-1)).view(tokens.shape[0], tokens.shape[1], -1), config);
            for (var i = 0; i < layers.Count; i++)
            {
                var (block, number) = (layers[i], i);
                x = recompute && cache is null ? Recomputation.Run(x, input => block.Run(input, start, null, number)) : block.Run(x, start, cache, number);
                blocks?.Add(x);
            }

            return norm.forward(x);
        }

        protected override void Dispose(bool disposing)
        {
            if (disposing)
            {
                rotary.Dispose();
            }

            base.Dispose(disposing);
        }
    }

    private sealed class TokenTable : nn.Module
    {
        private readonly Parameter weight;

        public TokenTable(int tokens, int size)
            : base(nameof(TokenTable))
        {
            weight = nn.Parameter(empty(tokens, size));
            RegisterComponents();
        }

        public Parameter Weight => weight;
    }
}
