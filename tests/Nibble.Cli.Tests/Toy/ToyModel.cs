using Nibble.Models;
using Nibble.Torch.Layers;
using Nibble.Torch.Models;
using TorchSharp.Modules;
using static TorchSharp.torch;
using F = TorchSharp.torch.nn.functional;

namespace Nibble.Cli.Tests.Toy;

internal sealed class ToyModel : nn.Module, IQuantizableModel
{
    private readonly ToyConfig config;
    private readonly Body toy;

    public ToyModel(ToyConfig config)
        : base(nameof(ToyModel))
    {
        this.config = config;
        toy = new Body(config);
        RegisterComponents();
        Blocks = [.. toy.Blocks];
        Layers =
        [
            .. toy.Blocks.SelectMany((block, i) => block.Linears.Select(layer =>
                KeyValuePair.Create(config.BlockPrefix(i) + layer.Key, (IQuantizableLayer)layer.Value))),
            .. toy.Head is { } head ? [KeyValuePair.Create(ToyConfig.Head, (IQuantizableLayer)head)] : Array.Empty<KeyValuePair<string, IQuantizableLayer>>(),
        ];
    }

    public ModelDefinition Definition => config;

    public nn.Module Module => this;

    public IReadOnlyList<IQuantizableBlock> Blocks { get; }

    public IReadOnlyList<KeyValuePair<string, IQuantizableLayer>> Layers { get; }

    public bool Recompute { get; set; }

    public void Initialize(Generator generator, Func<string, bool>? drawn = null)
    {
        using var guard = no_grad();
        foreach (var (name, parameter) in named_parameters().Where(item => drawn?.Invoke(item.name) != false))
        {
            if (parameter.dim() == 2)
            {
                parameter.normal_(0, 0.3, generator);
            }
            else if (name.EndsWith("norm.weight", StringComparison.Ordinal))
            {
                nn.init.ones_(parameter);
            }
            else
            {
                nn.init.zeros_(parameter);
            }
        }
    }

    public Tensor Compute(ModelBatch batch, IList<Tensor>? blocks = null)
    {
        Tensor x;
        using (TokenMask.Begin(batch.Mask))
        {
            x = toy.Words.Embed(batch);
            foreach (var block in toy.Blocks)
            {
                x = block.Compute(new BlockInput(x, batch.Mask));
                blocks?.Add(x);
            }
        }

        return toy.Head is { } head ? ToyHead.Apply(head, new BlockInput(x, batch.Mask))
            : SentencePooling.Apply(x, batch.Mask, config.For.Pooling, config.For.Normalizes);
    }

    private sealed class Body : nn.Module
    {
        private readonly ToyInput words;
        private readonly ModuleList<ToyBlock> blocks;
        private readonly QuantizableLinear? head;

        public Body(ToyConfig config)
            : base(nameof(Body))
        {
            words = new ToyInput(config);
            blocks = new ModuleList<ToyBlock>([.. Enumerable.Range(0, config.Layers).Select(_ => new ToyBlock(config))]);
            head = config.HasHead ? new QuantizableLinear(config.HiddenSize, config.Labels, bias: true) : null;
            RegisterComponents();
        }

        public ToyInput Words => words;

        public IReadOnlyList<ToyBlock> Blocks => [.. blocks];

        public QuantizableLinear? Head => head;
    }
}

internal sealed class ToyParts(ToyConfig config) : IModelParts
{
    public IInputPart CreateInput() => new ToyInput(config);

    public IQuantizableBlock CreateBlock(int index) => new ToyBlock(config);

    public IQuantizableBlock? CreateHead() => config.HasHead ? new ToyHead(config) : null;

    public void Dispose()
    {
    }
}

internal sealed class ToyInput : nn.Module, IInputPart
{
    private readonly Parameter weight;

    public ToyInput(ToyConfig config)
        : base(nameof(ToyInput))
    {
        weight = nn.Parameter(empty(config.VocabularySize, config.HiddenSize));
        RegisterComponents();
    }

    public IReadOnlyList<KeyValuePair<string, Parameter>> Parameters => [];

    public KeyValuePair<string, Parameter> Words => new(ToyConfig.Words + ".weight", weight);

    public IReadOnlyList<KeyValuePair<string, IQuantizableLayer>> Tables => [];

    public Tensor Embed(ModelBatch batch, Tensor? words = null) => words ?? weight.index_select(0, batch.Ids.flatten()).view(batch.Ids.shape[0], batch.Ids.shape[1], -1);
}

internal sealed class ToyBlock : nn.Module, IQuantizableBlock
{
    private readonly QuantizableLinear up;
    private readonly QuantizableLinear down;
    private readonly LayerNorm norm;

    public ToyBlock(ToyConfig config)
        : base(nameof(ToyBlock))
    {
        up = new QuantizableLinear(config.HiddenSize, config.Inner, bias: true);
        down = new QuantizableLinear(config.Inner, config.HiddenSize, bias: false);
        norm = nn.LayerNorm(config.HiddenSize);
        RegisterComponents();
        Stages =
        [
            new BlockStage([new(nameof(up), up)], input => new StageTrace(input.Hidden)),
            new BlockStage([new(nameof(down), down)], input => new StageTrace(F.relu(up.call(input.Hidden)), input.Hidden)),
        ];
    }

    public IEnumerable<KeyValuePair<string, QuantizableLinear>> Linears => Stages.SelectMany(stage => stage.Layers);

    public nn.Module Module => this;

    public IReadOnlyList<BlockStage> Stages { get; }

    public Tensor Compute(BlockInput input) => norm.call(input.Hidden + down.call(F.relu(up.call(input.Hidden))));
}

internal sealed class ToyHead : nn.Module, IQuantizableBlock
{
    private readonly QuantizableLinear head;

    public ToyHead(ToyConfig config)
        : base(nameof(ToyHead))
    {
        head = new QuantizableLinear(config.HiddenSize, config.Labels, bias: true);
        RegisterComponents();
        Stages = [new BlockStage([new(ToyConfig.Head, head)], input => new StageTrace(Pool(input)))];
    }

    public nn.Module Module => this;

    public IReadOnlyList<KeyValuePair<string, Parameter>> Parameters =>
        [.. head.named_parameters().Select(item => KeyValuePair.Create($"{ToyConfig.Head}.{item.name}", item.parameter))];

    public IReadOnlyList<BlockStage> Stages { get; }

    public Tensor Compute(BlockInput input) => Apply(head, input);

    public static Tensor Apply(QuantizableLinear head, BlockInput input) => head.call(Pool(input));

    private static Tensor Pool(BlockInput input) => SentencePooling.Apply(input.Hidden, input.Mask, Pooling.Mean, normalizes: false);
}
