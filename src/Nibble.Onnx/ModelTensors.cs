using Nibble.Onnx.Layers;
using Nibble.Export;
using Nibble.Formats.CompressedTensors;
using Nibble.Files;
using Nibble.Artifacts;
using Nibble.Formats.HuggingFace;
using Nibble.Models;
using Nibble.Onnx.Sources;

namespace Nibble.Onnx;

/// <summary>The tensors of a model on disk, a float checkpoint, an artifact or an ONNX file of either, and which of them a graph has used.</summary>
public sealed class ModelTensors : IDisposable
{
    private readonly IModelSource source;
    private readonly HashSet<string> used = new(StringComparer.Ordinal);

    private readonly TaskConfig? task;

    private ModelTensors(IModelSource source, TaskConfig? task = null) => (this.source, this.task) = (source, task);

    /// <summary>The folder, which holds the tokenizer too.</summary>
    public string Folder => source.Folder;

    /// <summary>What the model is called: the name of its folder.</summary>
    public string Name => Checkpoint.NameOf(Folder);

    /// <summary>The text of its <c>config.json</c>, with the task that it was opened for.</summary>
    public string ConfigJson => task?.AddTo(source.ConfigJson) ?? source.ConfigJson;

    /// <summary>What the model is.</summary>
    /// <exception cref="NibbleException">The configuration is of no supported model.</exception>
    public ModelDefinition ParseDefinition()
    {
        var definition = ModelFamilies.Parse(ConfigJson, ConfigPlace);
        return definition.Task is not null ? definition : throw new MissingHeadException(Folder, definition.ModelType);
    }

    /// <summary>Where that text stands, for messages.</summary>
    public string ConfigPlace => source.ConfigPlace;

    /// <summary>The folder or file, for messages.</summary>
    internal string Place => source.Place;

    /// <summary>What an artifact says of itself, without tensors that no graph uses; null for a float model.</summary>
    internal ArtifactManifest? Manifest =>
        source.Manifest is { } manifest ? manifest with { FloatTensors = [.. manifest.FloatTensors.Where(used.Contains)] } : null;

    /// <summary>The ONNX file that the tensors are read from; null for a folder.</summary>
    internal OnnxSource? Exported => source as OnnxSource;

    /// <summary>Opens a Hugging Face folder or an artifact of Nibble.</summary>
    /// <exception cref="NibbleException">The folder holds neither.</exception>
    /// <param name="folder">The folder.</param>
    /// <param name="task">What the model is for; null is what the folder says.</param>
    public static ModelTensors Open(string folder, TaskConfig? task = null)
    {
        task ??= SentenceTransformers.Read(folder);
        var source = ModelSources.Open(folder, needsHead: task?.Task != ModelTask.Embedding);
        return new(source, source is ArtifactSource ? null : task);
    }

    /// <summary>Opens an ONNX file that Nibble wrote; its tensors are read as they were in the folder that it was made from.</summary>
    /// <exception cref="NibbleException">There is no such file, it is broken, or it does not tell of the folder.</exception>
    public static ModelTensors OpenExported(string path) => new(new OnnxSource(OnnxFile.Open(path)));

    /// <summary>Opens an ONNX file that Nibble wrote.</summary>
    internal static ModelTensors Of(OnnxFile file) => new(new OnnxSource(file));

    /// <inheritdoc/>
    public void Dispose() => source.Dispose();

    /// <summary>A quantized layer; null where the layer's weight is float.</summary>
    /// <param name="name">Its name.</param>
    /// <param name="outFeatures">Rows of its weight.</param>
    /// <param name="inFeatures">Columns of its weight.</param>
    /// <param name="reader">How a file that was exported holds it.</param>
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
        var tensor = source.Float(name) ?? throw new NibbleException($"{Place}: tensor '{name}' is missing, which a model with this config.json has");
        return tensor.Shape.SequenceEqual(shape.Select(size => (long)size))
            ? new SourceTensor(name, tensor.Shape, tensor.StoredAs, () => Finite(tensor))
            : throw new NibbleException(
                $"{Place}: tensor '{name}' has shape [{string.Join(", ", tensor.Shape)}], expected [{string.Join(", ", shape)}] from config.json");
    }

    /// <summary>Refuses NaN and infinity in a checkpoint's tensors that were asked for, before anything is written; those of artifacts were looked at when they
    /// were loaded.</summary>
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

    /// <summary>Refuses a model with tensors that no one has asked for: it computes something else.</summary>
    /// <param name="isKnown">Names that checkpoints hold although the model computes or repeats them.</param>
    /// <exception cref="NibbleException">A tensor is left over.</exception>
    internal void RequireAllUsed(Predicate<string> isKnown)
    {
        if (source.Names.FirstOrDefault(name => !used.Contains(name) && !isKnown(name)) is { } unknown)
        {
            throw new NibbleException($"{Place}: it holds '{unknown}', which a model with this config.json does not use");
        }
    }
}
