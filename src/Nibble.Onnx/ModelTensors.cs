using Nibble.Artifacts;
using Nibble.Formats;
using Nibble.Formats.HuggingFace;

namespace Nibble.Onnx;

/// <summary>The tensors of a model on disk, a float checkpoint or an artifact, and which of them a graph has used.</summary>
public sealed class ModelTensors : IDisposable
{
    private readonly Checkpoint? checkpoint;
    private readonly Dictionary<string, QuantizedLayer> layers = new(StringComparer.Ordinal);
    private readonly Dictionary<string, FloatTensor> floats = new(StringComparer.Ordinal);
    private readonly HashSet<string> used = new(StringComparer.Ordinal);

    private ModelTensors(string folder, Checkpoint checkpoint)
    {
        Folder = folder;
        ConfigJson = checkpoint.ConfigJson;
        this.checkpoint = checkpoint;
    }

    private ModelTensors(string folder, QuantizedModel artifact)
    {
        Folder = folder;
        ConfigJson = artifact.ConfigJson;
        Artifact = artifact;
        layers = artifact.Layers.ToDictionary(layer => layer.Name, StringComparer.Ordinal);
        floats = artifact.FloatTensors.ToDictionary(tensor => tensor.Name, StringComparer.Ordinal);
    }

    /// <summary>The folder.</summary>
    public string Folder { get; }

    /// <summary>What the model is called: the name of its folder.</summary>
    public string Name => Checkpoint.NameOf(Folder);

    /// <summary>The text of its <c>config.json</c>.</summary>
    public string ConfigJson { get; }

    /// <summary>The artifact; null for a float checkpoint.</summary>
    public QuantizedModel? Artifact { get; }

    /// <summary>Opens a Hugging Face folder or an artifact of Nibble.</summary>
    /// <exception cref="NibbleException">The folder holds neither.</exception>
    public static ModelTensors Open(string folder) =>
        QuantizedModelFile.IsArtifact(folder) ? new ModelTensors(folder, QuantizedModelFile.Load(folder)) : new ModelTensors(folder, Checkpoint.Open(folder));

    /// <inheritdoc/>
    public void Dispose() => checkpoint?.Dispose();

    /// <summary>A quantized layer; null where the layer's weight is float.</summary>
    /// <exception cref="NibbleException">The layer's weight has another shape.</exception>
    internal QuantizedLayer? Layer(string name, int outFeatures, int inFeatures)
    {
        if (!layers.TryGetValue(name, out var layer))
        {
            return null;
        }

        used.Add(name);
        return layer.Weight.Rows == outFeatures && layer.Weight.Columns == inFeatures
            ? layer
            : throw new NibbleException($"{Folder}: layer '{name}' is [{layer.Weight.Rows}, {layer.Weight.Columns}], expected [{outFeatures}, {inFeatures}] from config.json");
    }

    /// <summary>A float tensor.</summary>
    /// <exception cref="NibbleException">There is no such tensor, or it has another shape or type.</exception>
    internal SourceTensor Float(string name, params int[] shape)
    {
        used.Add(name);
        if (floats.TryGetValue(name, out var tensor))
        {
            return new SourceTensor(name, Shaped(name, [.. tensor.Shape.Select(size => (long)size)], shape), tensor.StoredAs, () => tensor.Values);
        }

        if (checkpoint is null || !checkpoint.Contains(name))
        {
            throw new NibbleException($"{Folder}: tensor '{name}' is missing, which a model with this config.json has");
        }

        var entry = checkpoint.Entry(name);
        return entry.ElementType.IsFloatingPoint()
            ? new SourceTensor(name, Shaped(name, [.. entry.Shape], shape), entry.ElementType, () => checkpoint.ReadFloats(name))
            : throw new NibbleException($"{Folder}: tensor '{name}' is stored as {entry.ElementType}, expected F32, F16 or BF16");
    }

    /// <summary>Refuses a model with tensors that no one has asked for: it computes something else.</summary>
    /// <param name="isKnown">Names that checkpoints hold although the model computes or repeats them.</param>
    /// <exception cref="NibbleException">A tensor is left over.</exception>
    internal void RequireAllUsed(Predicate<string> isKnown)
    {
        var all = layers.Keys.Concat(floats.Keys).Concat(checkpoint?.TensorNames ?? []);
        if (all.FirstOrDefault(name => !used.Contains(name) && !isKnown(name)) is { } unknown)
        {
            throw new NibbleException($"{Folder}: it holds '{unknown}', which a model with this config.json does not use");
        }
    }

    private long[] Shaped(string name, long[] found, int[] expected) => found.SequenceEqual(expected.Select(size => (long)size))
        ? found
        : throw new NibbleException($"{Folder}: tensor '{name}' has shape [{string.Join(", ", found)}], expected [{string.Join(", ", expected)}] from config.json");
}

/// <summary>A float tensor of a model.</summary>
/// <param name="Name">Its name.</param>
/// <param name="Shape">Its shape.</param>
/// <param name="StoredAs">The element type it is stored in.</param>
/// <param name="Read">Reads its values, row by row.</param>
internal sealed record SourceTensor(string Name, long[] Shape, ElementType StoredAs, Func<float[]> Read);
