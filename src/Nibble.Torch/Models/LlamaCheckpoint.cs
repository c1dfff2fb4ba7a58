using Nibble.Formats;
using Nibble.Formats.HuggingFace;
using Nibble.Torch.Models.Llama;
using Nibble.Torch.Native;
using static TorchSharp.torch;

namespace Nibble.Torch.Models;

/// <summary>A float checkpoint on disk whose tensors are known to fit its configuration, read a block at a time.</summary>
public sealed class LlamaCheckpoint : IDisposable
{
    internal const string EmbeddingName = "model.embed_tokens.weight";
    internal const string NormName = "model.norm.weight";
    internal const string HeadName = "lm_head";
    private const string HeadWeightName = HeadName + ".weight";

    private readonly Checkpoint checkpoint;
    private readonly RotaryTable rotary;

    private LlamaCheckpoint(Checkpoint checkpoint, LlamaConfig config, TextTokenizer tokenizer)
    {
        this.checkpoint = checkpoint;
        Config = config;
        Tokenizer = tokenizer;
        rotary = new RotaryTable(config);
    }

    /// <summary>The checkpoint's folder.</summary>
    public string Folder => checkpoint.Folder;

    /// <summary>What the model is called: the name of its folder.</summary>
    public string Name => Checkpoint.NameOf(Folder);

    /// <summary>The text of its <c>config.json</c>.</summary>
    public string ConfigJson => checkpoint.ConfigJson;

    /// <summary>The model's shape.</summary>
    public LlamaConfig Config { get; }

    /// <summary>Its tokenizer.</summary>
    public TextTokenizer Tokenizer { get; }

    /// <summary>Bytes of its tensors on disk.</summary>
    public long Bytes => checkpoint.TensorBytes;

    /// <summary>Opens a checkpoint and checks all tensors' names and shapes, without reading them.</summary>
    /// <exception cref="NibbleException">The folder holds no float checkpoint of a supported model.</exception>
    public static LlamaCheckpoint Open(string folder)
    {
        TorchRuntime.EnsureLoaded();
        QuantizedCheckpoint.RequireFloat(folder);
        var checkpoint = Checkpoint.Open(folder);
        try
        {
            var config = LlamaConfig.Parse(checkpoint.ConfigJson, Path.Combine(folder, Checkpoint.ConfigName));
            var tokenizer = TextTokenizer.Load(folder);
            if (tokenizer.VocabularySize > config.VocabularySize)
            {
                throw new NibbleException($"{folder}: the tokenizer has {tokenizer.VocabularySize} tokens, expected at most the {config.VocabularySize} of config.json's vocab_size; the tokenizer belongs to another model");
            }

            checkpoint.RequireHead();
            RequireTensors(checkpoint, config);
            return new LlamaCheckpoint(checkpoint, config, tokenizer);
        }
        catch
        {
            checkpoint.Dispose();
            throw;
        }
    }

    /// <summary>Refuses a checkpoint that holds NaN or infinity in a tensor of the model; reads all of it once.</summary>
    /// <exception cref="NibbleException">A value is NaN or infinite; the message says which.</exception>
    public void RequireFinite()
    {
        foreach (var name in checkpoint.TensorsInOrder.Where(name => !IsIgnored(name) || (name == HeadWeightName && !Config.TiedHead)))
        {
            checkpoint.RequireFinite(name);
        }
    }

    /// <summary>SHA-256 of its files by name.</summary>
    public IReadOnlyDictionary<string, string> Hashes() => checkpoint.Hashes();

    /// <summary>The element type a tensor is stored in.</summary>
    public ElementType StoredAs(string tensor) => checkpoint.Entry(tensor).ElementType;

    /// <summary>The name of a block's tensors and layers starts with this.</summary>
    internal static string BlockPrefix(int block) => string.Create(System.Globalization.CultureInfo.InvariantCulture, $"model.layers.{block}.");

    /// <summary>Whether the checkpoint holds a tensor.</summary>
    internal bool Contains(string name) => checkpoint.Contains(name);

    /// <summary>Reads one decoder block.</summary>
    /// <param name="index">Which one.</param>
    /// <param name="config">The block's shape: the checkpoint's, except for biases that it lacks, which are zero.</param>
    internal LlamaBlock LoadBlock(int index, LlamaConfig config)
    {
        var block = new LlamaBlock(config, rotary);
        foreach (var (name, parameter) in block.named_parameters())
        {
            if (Contains(BlockPrefix(index) + name))
            {
                Load(BlockPrefix(index) + name, parameter);
            }
        }

        return block;
    }

    /// <summary>Reads rows of a matrix.</summary>
    internal Tensor Rows(string name, int first, int count)
    {
        var width = (int)checkpoint.Entry(name).Shape[1];
        var values = new float[count * width];
        checkpoint.ReadFloats(name, (long)first * width, values);
        return tensor(values, count, width);
    }

    /// <summary>Reads a tensor into a parameter of the same shape.</summary>
    internal void Load(string name, Tensor parameter) => CheckpointTensors.Read(checkpoint, name, parameter);

    /// <summary>Embeds tokens, [batch, length] to [batch, length, hidden], reading only their rows.</summary>
    internal Tensor Embed(long[] tokens, int batch)
    {
        var values = new float[tokens.Length * Config.HiddenSize];
        for (var i = 0; i < tokens.Length; i++)
        {
            checkpoint.ReadFloats(EmbeddingName, tokens[i] * Config.HiddenSize, values.AsSpan(i * Config.HiddenSize, Config.HiddenSize));
        }

        return tensor(values, batch, tokens.Length / batch, Config.HiddenSize);
    }

    /// <summary>Copies a tensor's bytes to a stream.</summary>
    internal void CopyTo(string name, Stream stream) => checkpoint.CopyTo(name, stream);

    /// <inheritdoc/>
    public void Dispose()
    {
        rotary.Dispose();
        checkpoint.Dispose();
    }

    /// <summary>The names and shapes of the tensors that stand outside the blocks.</summary>
    internal static IEnumerable<(string Name, long[] Shape)> OuterTensors(LlamaConfig config)
    {
        yield return (EmbeddingName, [config.VocabularySize, config.HiddenSize]);
        yield return (NormName, [config.HiddenSize]);
        if (!config.TiedHead)
        {
            yield return (HeadWeightName, [config.VocabularySize, config.HiddenSize]);
        }
    }

    /// <summary>The names of a model's linear layers, its head included, and the length of their rows.</summary>
    public static IReadOnlyList<(string Name, int Columns)> LinearLayers(LlamaConfig config)
    {
        ArgumentNullException.ThrowIfNull(config);
        var inside = BlockTensors(config).Where(tensor => tensor.Shape.Length == 2).ToList();
        return
        [
            .. Enumerable.Range(0, config.Layers).SelectMany(index => inside.Select(tensor => (BlockPrefix(index) + tensor.Name[..^".weight".Length], (int)tensor.Shape[1]))),
            (HeadName, config.HiddenSize),
        ];
    }

    /// <summary>The names of a block's tensors inside it, and their shapes.</summary>
    internal static IReadOnlyList<(string Name, long[] Shape)> BlockTensors(LlamaConfig config)
    {
        using var rotary = new RotaryTable(config);
        using var block = new LlamaBlock(config, rotary);
        return [.. block.named_parameters().Select(item => (item.name, item.parameter.shape))];
    }

    private static void RequireTensors(Checkpoint checkpoint, LlamaConfig config)
    {
        var shapes = BlockTensors(config);
        var expected = Enumerable.Range(0, config.Layers)
            .SelectMany(index => shapes.Select(item => (Name: BlockPrefix(index) + item.Name, item.Shape)))
            .Concat(OuterTensors(config))
            .ToDictionary(item => item.Item1, item => item.Item2, StringComparer.Ordinal);
        CheckpointTensors.Require(checkpoint, expected, config.ModelType, IsIgnored);
    }

    /// <summary>Whether checkpoints hold a tensor that the model computes itself, or that repeats the embedding.</summary>
    internal static bool IsIgnored(string name) => name.EndsWith("rotary_emb.inv_freq", StringComparison.Ordinal) || name == HeadWeightName;
}
