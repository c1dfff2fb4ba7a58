using Nibble.Files;
using Nibble.Formats;
using Nibble.Formats.HuggingFace;
using Nibble.Models;
using Nibble.Torch.Native;
using static TorchSharp.torch;

namespace Nibble.Torch.Models;

/// <summary>A float checkpoint on disk whose tensors have been checked against its configuration. It is read one part at a time.</summary>
internal sealed class FloatCheckpoint : IDisposable
{
    private readonly Checkpoint checkpoint;

    private FloatCheckpoint(Checkpoint checkpoint, string configJson, ModelDefinition definition, TextTokenizer tokenizer)
    {
        this.checkpoint = checkpoint;
        ConfigJson = configJson;
        Definition = definition;
        Tokenizer = tokenizer;
    }

    /// <summary>The checkpoint's folder.</summary>
    public string Folder => checkpoint.Folder;

    /// <summary>The model's name, which is the name of its folder.</summary>
    public string Name => Checkpoint.NameOf(Folder);

    /// <summary>The text of its <c>config.json</c>, with the task that it was opened for.</summary>
    public string ConfigJson { get; }

    /// <summary>The model's definition.</summary>
    public ModelDefinition Definition { get; }

    /// <summary>Its tokenizer.</summary>
    public TextTokenizer Tokenizer { get; }

    /// <summary>Size of its tensors on disk, in bytes.</summary>
    public long Bytes => checkpoint.TensorBytes;

    /// <summary>Opens a checkpoint and checks the names and shapes of all tensors without reading them.</summary>
    /// <param name="folder">A Hugging Face folder.</param>
    /// <param name="task">The task of the model. Null reads it from the folder.</param>
    /// <exception cref="MissingHeadException">The model has no head, and the task is not known.</exception>
    /// <exception cref="NibbleException">The folder holds no float checkpoint of a supported model.</exception>
    public static FloatCheckpoint Open(string folder, TaskConfig? task = null) =>
        Open(folder, json => (task ?? SentenceTransformers.Read(folder))?.AddTo(json) ?? json);

    /// <summary>Opens a checkpoint.</summary>
    /// <param name="folder">A Hugging Face folder.</param>
    /// <param name="change">Turns the text of the checkpoint's configuration into that of the wanted model.</param>
    /// <param name="mayLackHead">Whether the tensors of the head may be missing because a new head will be trained.</param>
    internal static FloatCheckpoint Open(string folder, Func<string, string> change, bool mayLackHead = false)
    {
        TorchRuntime.EnsureLoaded();
        QuantizedCheckpoint.RequireFloat(folder);
        var checkpoint = Checkpoint.Open(folder);
        try
        {
            var json = change(checkpoint.ConfigJson);
            var definition = ModelFamilies.Parse(json, Path.Combine(folder, Checkpoint.ConfigName));
            RequireSize(checkpoint, definition);
            var tokenizer = TextTokenizer.Load(folder, definition);
            if (definition.Task is null)
            {
                throw new MissingHeadException(folder, definition.ModelType);
            }

            if (definition.Task != ModelTask.Embedding && !mayLackHead)
            {
                checkpoint.RequireHead();
            }

            var head = definition.HeadTensors.Select(tensor => tensor.Name).ToHashSet(StringComparer.Ordinal);
            var expected = definition.Tensors.Where(tensor => !mayLackHead || !head.Contains(tensor.Name) || Fits(checkpoint, tensor))
                .ToDictionary(tensor => tensor.Name, tensor => tensor.Shape.ToArray(), StringComparer.Ordinal);
            CheckpointTensors.Require(checkpoint, expected, definition.ModelType, name => definition.IsIgnored(name) || (mayLackHead && head.Contains(name)));
            return new FloatCheckpoint(checkpoint, json, definition, tokenizer) { HeldTensors = expected.Keys.ToHashSet(StringComparer.Ordinal) };
        }
        catch
        {
            checkpoint.Dispose();
            throw;
        }
    }

    /// <summary>The tensors of the definition that the checkpoint holds.</summary>
    internal IReadOnlySet<string> HeldTensors { get; private init; } = new HashSet<string>();

    /// <summary>Rejects a checkpoint with NaN or infinity in a tensor of the model. Reads the whole checkpoint once.</summary>
    /// <exception cref="NibbleException">A value is NaN or infinite. The message names it.</exception>
    public void RequireFinite()
    {
        foreach (var name in checkpoint.TensorsInOrder.Where(HeldTensors.Contains))
        {
            checkpoint.RequireFinite(name);
        }
    }

    /// <summary>SHA-256 of its files by name.</summary>
    public IReadOnlyDictionary<string, string> Hashes() => checkpoint.Hashes();

    /// <summary>The element type a tensor is stored in.</summary>
    public ElementType StoredAs(string tensor) => checkpoint.Entry(tensor).ElementType;

    /// <summary>Whether the checkpoint holds a tensor.</summary>
    internal bool Contains(string name) => checkpoint.Contains(name);

    /// <summary>The tensor that holds a tensor's values: the tensor itself, or the one that it is tied to.</summary>
    internal string SourceOf(string tensor) =>
        Definition.Tied is var (layer, table) && tensor == layer + ".weight" ? table + ".weight" : tensor;

    /// <summary>Reads consecutive rows of a matrix.</summary>
    internal Tensor Rows(string name, int first, int count)
    {
        var shape = checkpoint.Entry(name).Shape;
        var width = shape.Count > 1 ? (int)shape[1] : 1;
        var values = new float[count * width];
        checkpoint.ReadFloats(name, (long)first * width, values);
        return shape.Count > 1 ? tensor(values, count, width) : tensor(values);
    }

    /// <summary>Reads the rows of a matrix at the given indices, [batch, length] to [batch, length, width].</summary>
    internal Tensor Rows(string name, Tensor indices)
    {
        var width = (int)checkpoint.Entry(name).Shape[1];
        var wanted = indices.data<long>().ToArray();
        var values = new float[wanted.Length * width];
        for (var i = 0; i < wanted.Length; i++)
        {
            checkpoint.ReadFloats(name, wanted[i] * width, values.AsSpan(i * width, width));
        }

        return tensor(values, indices.shape[0], indices.shape[1], width);
    }

    /// <summary>Reads consecutive values of a tensor.</summary>
    internal void Read(string name, long start, Span<float> values) => checkpoint.ReadFloats(name, start, values);

    /// <summary>Reads a tensor into a parameter of the same shape.</summary>
    internal void Load(string name, Tensor parameter) => checkpoint.ReadFloats(name, 0, TensorMemory.Floats(parameter));

    /// <summary>Reads the parameters of a part. Parameters that the checkpoint lacks become zeros.</summary>
    /// <param name="prefix">The prefix of their names in the checkpoint.</param>
    /// <param name="parameters">The parameters.</param>
    internal void Load(string prefix, IEnumerable<KeyValuePair<string, TorchSharp.Modules.Parameter>> parameters)
    {
        using var guard = no_grad();
        foreach (var (name, parameter) in parameters)
        {
            var source = SourceOf(prefix + name);
            if (Contains(source))
            {
                Load(source, parameter);
            }
            else
            {
                parameter.zero_();
            }
        }
    }

    /// <summary>Copies a tensor's bytes to a stream.</summary>
    internal void CopyTo(string name, Stream stream) => checkpoint.CopyTo(name, stream);

    /// <inheritdoc/>
    public void Dispose() => checkpoint.Dispose();

    /// <summary>Rejects a configuration whose sizes are far from those of the weights, before memory is allocated.</summary>
    private static void RequireSize(Checkpoint checkpoint, ModelDefinition definition)
    {
        // Every parameter takes at least two bytes on disk. Comparing with half of that lets a checkpoint that only lacks a tensor reach its specific message.
        var values = definition.InputTensors.Sum(Count) + (definition.Layers * definition.BlockTensors(0).Sum(Count));
        if (values > checkpoint.TensorBytes)
        {
            throw new NibbleException($"{checkpoint.Folder}: config.json describes a model of at least {values:N0} parameters, but the weights take only "
                + $"{checkpoint.TensorBytes:N0} bytes. They belong to different models");
        }

        // Sizes in a hostile file can overflow integers.
        static double Count(TensorDefinition tensor) => tensor.Shape.Aggregate(1.0, (product, size) => product * size);
    }

    private static bool Fits(Checkpoint checkpoint, TensorDefinition tensor) =>
        checkpoint.Contains(tensor.Name) && checkpoint.Entry(tensor.Name).Shape.Select(size => (long)size).SequenceEqual(tensor.Shape);
}
