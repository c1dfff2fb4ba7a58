using Nibble.Artifacts;
using Nibble.Export;
using Nibble.Files;
using Nibble.Formats;
using Nibble.Formats.CompressedTensors;
using Nibble.Formats.HuggingFace;
using Nibble.Models;
using Nibble.Torch.Native;

namespace Nibble.Torch.Models;

/// <summary>
/// A model on disk, float or quantized, that is read one tensor at a time. It holds what <see cref="LoadedModel"/> holds, without the weights.
/// </summary>
internal sealed class StoredModel : IDisposable
{
    private readonly FloatCheckpoint? checkpoint;
    private readonly ArtifactSource? artifact;
    private readonly Dictionary<string, QuantizedLayer> heldLayers = new(StringComparer.Ordinal);
    private readonly Dictionary<string, FloatTensor> heldFloats = new(StringComparer.Ordinal);
    private readonly HashSet<string> layers = new(StringComparer.Ordinal);

    private StoredModel(FloatCheckpoint checkpoint)
    {
        this.checkpoint = checkpoint;
        (Folder, ConfigJson, Definition, Tokenizer, Bytes) =
            (checkpoint.Folder, checkpoint.ConfigJson, checkpoint.Definition, checkpoint.Tokenizer, checkpoint.Bytes);
    }

    private StoredModel(string folder, ArtifactSource artifact)
    {
        this.artifact = artifact;
        (Folder, ConfigJson, Bytes) = (folder, artifact.ConfigJson, QuantizedModelFile.TensorBytes(folder));
        (Recipe, Method, StaticKeys) = (artifact.Manifest.Recipe, artifact.Manifest.Provenance.Method, artifact.StaticKeys);
        layers.UnionWith(artifact.Manifest.Layers.Select(layer => layer.Name));
        QuantizesInputs = artifact.Manifest.Layers.Any(layer => layer.Scheme.Activations is not null);
        Definition = ModelFamilies.Parse(ConfigJson, $"{folder}: {Checkpoint.ConfigName}");
        ModelSources.RequireExactly(
            artifact, Definition.Tensors.ToDictionary(tensor => tensor.Name, tensor => tensor.Shape.ToArray(), StringComparer.Ordinal),
            Definition.ModelType, Definition.IsIgnored);
        Tokenizer = Require();
    }

    private StoredModel(string folder, QuantizedModel held)
    {
        (Folder, ConfigJson) = (folder, held.ConfigJson);
        (Recipe, Method, StaticKeys) = (held.Recipe, held.Provenance.Method, held.StaticKeys);
        heldLayers = held.Layers.ToDictionary(layer => layer.Name, StringComparer.Ordinal);
        heldFloats = held.FloatTensors.ToDictionary(tensor => tensor.Name, StringComparer.Ordinal);
        layers.UnionWith(heldLayers.Keys);
        QuantizesInputs = held.QuantizesInputs;
        Bytes = Directory.EnumerateFiles(folder, "*.safetensors").Sum(path => new FileInfo(path).Length);
        Definition = ModelFamilies.Parse(ConfigJson, $"{folder}: {Checkpoint.ConfigName}");
        Tokenizer = Require();
    }

    /// <summary>The folder.</summary>
    public string Folder { get; }

    /// <summary>The model's name, which is the name of its folder.</summary>
    public string Name => Checkpoint.NameOf(Folder);

    /// <summary>The text of its <c>config.json</c>, with the task that it was opened for.</summary>
    public string ConfigJson { get; }

    /// <summary>The model's definition.</summary>
    public ModelDefinition Definition { get; }

    /// <summary>Its tokenizer.</summary>
    public TextTokenizer Tokenizer { get; }

    /// <summary>Size of its tensors on disk, in bytes.</summary>
    public long Bytes { get; }

    /// <summary>The recipe of an artifact. Null for a float checkpoint.</summary>
    public Recipes.Recipe? Recipe { get; }

    /// <summary>The method that made an artifact. Null for a float checkpoint.</summary>
    public string? Method { get; }

    /// <summary>Whether the input of any layer is quantized.</summary>
    public bool QuantizesInputs { get; }

    /// <summary>The fixed parameters of keys, block by block.</summary>
    public IReadOnlyList<KeyQuantization> StaticKeys { get; } = [];

    /// <summary>Opens what <see cref="LoadedModel.Open"/> opens. Names and shapes of all tensors are checked, values when they are read.</summary>
    /// <remarks>Codes of another tool are held in memory, one byte each, because their checkpoints are converted as a whole.</remarks>
    /// <param name="folder">A Hugging Face folder.</param>
    /// <param name="task">The task of the model. Null reads it from the folder.</param>
    /// <exception cref="MissingHeadException">The model has no head, and the task is not known.</exception>
    /// <exception cref="NibbleException">The folder holds no model that can be loaded.</exception>
    public static StoredModel Open(string folder, TaskConfig? task = null)
    {
        TorchRuntime.EnsureLoaded();
        if (QuantizedModelFile.IsArtifact(folder))
        {
            var source = new ArtifactSource(folder);
            try
            {
                return new StoredModel(folder, source);
            }
            catch
            {
                source.Dispose();
                throw;
            }
        }

        return QuantizedCheckpoint.MethodOf(folder) is not null
            ? new StoredModel(folder, CheckpointImporter.Read(folder).Model) : new StoredModel(FloatCheckpoint.Open(folder, task));
    }

    /// <summary>Whether a layer is quantized.</summary>
    public bool IsQuantized(string layer) => layers.Contains(layer);

    /// <summary>Reads a quantized layer. Null if the layer is float.</summary>
    /// <exception cref="NibbleException">Its tensors are broken.</exception>
    public QuantizedLayer? Layer(string name) => artifact?.Layer(name) ?? heldLayers.GetValueOrDefault(name);

    /// <summary>The element type that a float tensor is stored in.</summary>
    public ElementType StoredAs(string tensor) =>
        checkpoint is null ? artifact?.Float(tensor)?.StoredAs ?? heldFloats[tensor].StoredAs
        : checkpoint.HeldTensors.Contains(tensor) ? checkpoint.StoredAs(checkpoint.SourceOf(tensor)) : ElementType.F32;

    /// <summary>Reads consecutive values of a float tensor.</summary>
    /// <param name="tensor">Its name.</param>
    /// <param name="start">The index of the first value.</param>
    /// <param name="values">Receives the values.</param>
    /// <exception cref="NibbleException">A value is NaN or infinite.</exception>
    public void Read(string tensor, long start, Span<float> values)
    {
        if (checkpoint is not null)
        {
            checkpoint.Read(checkpoint.SourceOf(tensor), start, values);
        }
        else if (artifact is not null)
        {
            artifact.Float(tensor)!.ReadPart(start, values);
        }
        else
        {
            heldFloats[tensor].Values.AsSpan((int)start, values.Length).CopyTo(values);
        }
    }

    /// <summary>Reads a tensor once, a part at a time, to find NaN and infinity. Quantized tensors are checked when their layer is read.</summary>
    /// <exception cref="NibbleException">A value is NaN or infinite. The message names it.</exception>
    public void RequireFinite(TensorDefinition tensor)
    {
        const string suffix = ".weight";
        if ((tensor.Name.EndsWith(suffix, StringComparison.Ordinal) && IsQuantized(tensor.Name[..^suffix.Length]))
            || (checkpoint is not null && !checkpoint.HeldTensors.Contains(tensor.Name)))
        {
            return;
        }

        var values = new float[Math.Min(tensor.Count, 1 << 20)];
        for (var start = 0L; start < tensor.Count; start += values.Length)
        {
            Read(tensor.Name, start, values.AsSpan(0, (int)Math.Min(values.Length, tensor.Count - start)));
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        checkpoint?.Dispose();
        artifact?.Dispose();
    }

    private TextTokenizer Require() =>
        Definition.Task is null ? throw new MissingHeadException(Folder, Definition.ModelType) : TextTokenizer.Load(Folder, Definition);
}
