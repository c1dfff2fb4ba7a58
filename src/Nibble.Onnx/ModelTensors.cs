using Nibble.Onnx.Layers;
using Nibble.Export;
using Nibble.Formats.CompressedTensors;
using Nibble.Files;
using Nibble.Artifacts;
using Nibble.Formats.HuggingFace;
using Nibble.Models;
using Nibble.Onnx.Sources;

namespace Nibble.Onnx;

/// <summary>
/// The tensors of a model on disk: a float checkpoint, an artifact, or an ONNX file of either. It records which of them a graph has used.
/// </summary>
public sealed class ModelTensors : IDisposable
{
    private readonly IModelSource source;
    private readonly HashSet<string> used = new(StringComparer.Ordinal);

    private readonly TaskConfig? task;

    private ModelTensors(IModelSource source, TaskConfig? task = null) => (this.source, this.task) = (source, task);

    /// <summary>The folder, which also holds the tokenizer.</summary>
    public string Folder => source.Folder;

    /// <summary>The model's name, which is the name of its folder.</summary>
    public string Name => Checkpoint.NameOf(Folder);

    /// <summary>The text of its <c>config.json</c>, with the task that it was opened for.</summary>
    public string ConfigJson => task?.AddTo(source.ConfigJson) ?? source.ConfigJson;

    /// <summary>Parses the model's definition.</summary>
    /// <exception cref="NibbleException">The configuration does not describe a supported model.</exception>
    public ModelDefinition ParseDefinition()
    {
        var definition = ModelFamilies.Parse(ConfigJson, ConfigPlace);
        return definition.Task is not null ? definition : throw new MissingHeadException(Folder, definition.ModelType);
    }

    /// <summary>The location of that text, for messages.</summary>
    public string ConfigPlace => source.ConfigPlace;

    /// <summary>The folder or file, for messages.</summary>
    internal string Place => source.Place;

    /// <summary>The manifest of an artifact, without tensors that no graph uses. Null for a float model.</summary>
    internal ArtifactManifest? Manifest =>
        source.Manifest is { } manifest ? manifest with { FloatTensors = [.. manifest.FloatTensors.Where(used.Contains)] } : null;

    /// <summary>The ONNX file that the tensors are read from. Null for a folder.</summary>
    internal OnnxSource? Exported => source as OnnxSource;

    /// <summary>Opens a Hugging Face folder or a Nibble artifact.</summary>
    /// <exception cref="NibbleException">The folder holds neither.</exception>
    /// <param name="folder">The folder.</param>
    /// <param name="task">The task of the model. Default: null, which reads it from the folder.</param>
    public static ModelTensors Open(string folder, TaskConfig? task = null)
    {
        task ??= SentenceTransformers.Read(folder);
        var source = ModelSources.Open(folder, needsHead: task?.Task != ModelTask.Embedding);
        return new(source, source is ArtifactSource ? null : task);
    }

    /// <summary>Opens an ONNX file that Nibble exported. Its tensors are read as they were in the folder that was exported.</summary>
    /// <exception cref="NibbleException">The file is missing or damaged, or its metadata do not describe the folder.</exception>
    public static ModelTensors OpenExported(string path) => new(new OnnxSource(OnnxFile.Open(path)));

    /// <summary>Opens an ONNX file that Nibble exported.</summary>
    internal static ModelTensors Of(OnnxFile file) => new(new OnnxSource(file));

    /// <inheritdoc/>
    public void Dispose() => source.Dispose();

    /// <summary>A quantized layer. Null if the layer's weight is float.</summary>
    /// <param name="name">Its name.</param>
    /// <param name="outFeatures">Rows of its weight.</param>
    /// <param name="inFeatures">Columns of its weight.</param>
    /// <param name="reader">Reads the layer from an exported file.</param>
    /// <exception cref="NibbleException">The layer's weight has another shape.</exception>
    internal QuantizedLayer? Layer(string name, int outFeatures, int inFeatures, LayerReader reader)
    {
        var found = source is OnnxSource exported ? exported.Layer(name, outFeatures, inFeatures, reader) : ((IFolderSource)source).Layer(name);
        if (found is not { } layer)
        {
            return null;
        }

        used.Add(name);
        return layer.Weight.Rows == outFeatures && layer.Weight.Columns == inFeatures
            ? layer
            : throw new NibbleException(
                $"{Place}: layer '{name}' is [{layer.Weight.Rows}, {layer.Weight.Columns}], expected [{outFeatures}, {inFeatures}] from config.json");
    }

    /// <summary>A float tensor.</summary>
    /// <exception cref="NibbleException">There is no such tensor, or it has another shape or type.</exception>
    internal SourceTensor Float(string name, params int[] shape)
    {
        used.Add(name);
        var tensor = source.Float(name) ?? throw new NibbleException($"{Place}: tensor '{name}' is missing, but a model with this config.json needs it");
        return tensor.Shape.SequenceEqual(shape.Select(size => (long)size))
            ? new SourceTensor(name, tensor.Shape, tensor.StoredAs, () => Finite(tensor), (start, values) => FinitePart(tensor, start, values))
            : throw new NibbleException(
                $"{Place}: tensor '{name}' has shape [{string.Join(", ", tensor.Shape)}], expected [{string.Join(", ", shape)}] from config.json");
    }

    /// <summary>
    /// Rejects NaN and infinity in the used tensors of a checkpoint before anything is written. Those of artifacts were checked when they were loaded.
    /// </summary>
    /// <exception cref="NibbleException">A value is NaN or infinite.</exception>
    internal void RequireFinite()
    {
        if (source is CheckpointSource checkpoint)
        {
            checkpoint.RequireFinite(used);
        }
    }

    private float[] Finite(SourceTensor tensor)
    {
        var values = tensor.Read();
        FiniteValues.Require(values, Place, tensor.Name, tensor.Shape);
        return values;
    }

    private void FinitePart(SourceTensor tensor, long start, Span<float> values)
    {
        tensor.ReadPart(start, values);
        FiniteValues.Require(values, Place, tensor.Name, tensor.Shape, start);
    }

    /// <summary>Rejects a model with unused tensors, because it computes something else.</summary>
    /// <param name="isKnown">Names of tensors that checkpoints hold although the model computes or repeats them.</param>
    /// <exception cref="NibbleException">A tensor is unused.</exception>
    internal void RequireAllUsed(Predicate<string> isKnown)
    {
        if (source.Names.FirstOrDefault(name => !used.Contains(name) && !isKnown(name)) is { } unknown)
        {
            throw new NibbleException($"{Place}: it holds '{unknown}', which a model with this config.json does not use");
        }
    }
}
