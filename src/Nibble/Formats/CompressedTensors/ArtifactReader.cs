using System.Text.Json;
using Nibble.Artifacts;
using Nibble.Files;
using Nibble.Formats.HuggingFace;
using Nibble.Formats.Safetensors;

namespace Nibble.Formats.CompressedTensors;

/// <summary>An artifact on disk.</summary>
/// <remarks>Opening it reads the manifest and the file's header. Tensors are read on demand, so that only one layer has to be in memory.</remarks>
internal sealed class ArtifactReader : IDisposable
{
    private readonly SafetensorsFile file;
    private readonly Dictionary<string, ManifestLayer> layers = new(StringComparer.Ordinal);
    private readonly HashSet<string> floats;

    private ArtifactReader(string folder, ArtifactManifest manifest, SafetensorsFile file)
    {
        Folder = folder;
        Manifest = manifest;
        this.file = file;
        foreach (var layer in manifest.Layers)
        {
            layers.TryAdd(layer.Name, layer);
        }

        floats = manifest.FloatTensors.ToHashSet(StringComparer.Ordinal);
    }

    /// <summary>The artifact's folder.</summary>
    public string Folder { get; }

    /// <summary>The manifest.</summary>
    public ArtifactManifest Manifest { get; }

    /// <summary>Opens an artifact.</summary>
    /// <exception cref="NibbleException">The folder holds no saved model, or its configuration or a header is broken.</exception>
    public static ArtifactReader Open(string folder)
    {
        ArgumentNullException.ThrowIfNull(folder);
        if (!QuantizedModelFile.IsArtifact(folder))
        {
            throw new NibbleException(Directory.Exists(folder)
                ? $"The folder {folder} has no {ArtifactManifest.FileName}, so it is not a model that Nibble quantized."
                : $"There is no folder {folder}.");
        }

        var manifest = ArtifactManifest.Read(Path.Combine(folder, ArtifactManifest.FileName));
        RequireSameConfig(Path.Combine(folder, Checkpoint.ConfigName), manifest.ConfigJson);
        return new ArtifactReader(folder, manifest, SafetensorsFile.Open(Path.Combine(folder, Checkpoint.WeightsName)));
    }

    /// <summary>Reads the whole model.</summary>
    /// <exception cref="NibbleException">A tensor is missing, broken, named twice or unknown.</exception>
    public QuantizedModel Read()
    {
        var source = new TensorSource(file);
        QuantizedLayer[] read = [.. Manifest.Layers.Select(layer => ReadLayer(layer, source))];
        FloatTensor[] values = [.. Manifest.FloatTensors.Select(name => ReadFloats(source, name))];
        KeyQuantization[] keys = [.. ReadStaticKeys(source)];
        source.RequireAllRead();
        return new QuantizedModel(Manifest.ConfigJson, read, values, Manifest.Recipe, Manifest.Provenance, Folder) { StaticKeys = keys };
    }

    /// <summary>Rejects a file whose tensors are not exactly those of the manifest, by name. Reads the static keys.</summary>
    /// <returns>The parameters of keys, block by block.</returns>
    /// <exception cref="NibbleException">A tensor is missing, named twice or unknown, or the keys are broken.</exception>
    public IReadOnlyList<KeyQuantization> RequireNames()
    {
        var source = new TensorSource(file);
        foreach (var layer in Manifest.Layers)
        {
            // The names do not depend on the size.
            foreach (var tensor in CompressedTensorsLayer.Layout(
                layer.Name, 1, 1, layer.Scheme.Weights!, layer.Scheme.Activations?.Scheme, layer.HasGroupIndex, Manifest.Format))
            {
                source.Mark(tensor.Name);
            }
        }

        foreach (var name in Manifest.FloatTensors)
        {
            source.Mark(name);
        }

        KeyQuantization[] keys = [.. ReadStaticKeys(source)];
        source.RequireAllRead();
        return keys;
    }

    /// <summary>Reads a quantized layer. Null if there is none with this name.</summary>
    /// <exception cref="NibbleException">Its tensors are broken.</exception>
    public QuantizedLayer? Layer(string name) => layers.TryGetValue(name, out var layer) ? ReadLayer(layer, new TensorSource(file)) : null;

    /// <summary>The rows and columns of a quantized layer, without reading its codes. Null if there is none with this name.</summary>
    /// <exception cref="NibbleException">Its tensors are broken.</exception>
    public (int Rows, int Columns)? SizeOf(string name) =>
        layers.ContainsKey(name) ? CompressedTensorsLayer.ReadSize(new TensorSource(file), name, Manifest.Format) : null;

    /// <summary>The header's entry of a float tensor. Null if there is none with this name.</summary>
    public SafetensorsEntry? Float(string name) => floats.Contains(name) ? file.Entry(name) : null;

    /// <summary>Reads consecutive values of a float tensor.</summary>
    /// <param name="name">Its name.</param>
    /// <param name="start">The index of the first value.</param>
    /// <param name="values">Receives the values.</param>
    /// <exception cref="NibbleException">The tensor is missing, is not a float type, or one of the values is NaN or infinite.</exception>
    public void ReadFloats(string name, long start, Span<float> values)
    {
        file.ReadFloats(name, start, values);
        FiniteValues.Require(values, file.Path, name, file.Entry(name).Shape, start);
    }

    /// <inheritdoc/>
    public void Dispose() => file.Dispose();

    /// <summary>Whether a layer's own shape has as many values as its codes.</summary>
    internal static bool HasShapeOfWeight(QuantizedLayer layer) => layer.Shape is null
        || (layer.Shape.Count > 2 && layer.Shape.All(size => size > 0) && layer.Shape[0] == layer.Weight.Rows
            && layer.Shape.Skip(1).Aggregate((Int128)1, (product, size) => product > int.MaxValue ? product : product * size) == layer.Weight.Columns);

    private QuantizedLayer ReadLayer(ManifestLayer layer, TensorSource source)
    {
        var read = CompressedTensorsLayer.Read(
            source, layer.Name, layer.Scheme.Weights!, layer.Scheme.Activations?.Scheme, Manifest.Format, layer.HasGroupIndex) with
        {
            InputTransform = layer.Transform,
            Shape = layer.Shape,
            WeightMethod = layer.Scheme.WeightMethod,
            InputMethod = layer.Scheme.ActivationMethod,
        };
        return HasShapeOfWeight(read)
            ? read
            : throw source.Fault(layer.Name,
                $"{ArtifactManifest.FileName} gives it the shape [{string.Join(", ", read.Shape!)}], which does not match {read.Weight.Rows} x "
                + $"{read.Weight.Columns} codes");
    }

    private static FloatTensor ReadFloats(TensorSource source, string name)
    {
        var entry = source.Entry(name);
        int[] shape = [.. entry.Shape.Select(size => size <= int.MaxValue ? (int)size : throw source.Fault(name, $"a side of {size} is too long"))];
        var values = source.Floats(name, entry.ElementType, [.. entry.Shape]);
        FiniteValues.Require(values, source.Path, name, entry.Shape);
        return new FloatTensor(name, shape, values, entry.ElementType);
    }

    private IEnumerable<KeyQuantization> ReadStaticKeys(TensorSource source)
    {
        var rule = Manifest.Recipe.KeyValueCache;
        return rule is { HasStaticKeys: true } == Manifest.StaticKeys.Count > 0
            ? Manifest.StaticKeys.Select(name => CompressedTensorsKeys.Read(source, name, rule!.Keys!))
            : throw new NibbleException(
                $"{Path.Combine(Folder, ArtifactManifest.FileName)}: staticKeys lists {Manifest.StaticKeys.Count} blocks, but the recipe has "
                + $"{(rule is { HasStaticKeys: true } ? "per-channel keys with static parameters" : "no per-channel keys")}.");
    }

    private static void RequireSameConfig(string path, string expected)
    {
        using var document = JsonFile.ReadObject(path);
        try
        {
            using var source = JsonDocument.Parse(expected);
            var others = document.RootElement.EnumerateObject().Where(property => property.Name != Checkpoint.QuantizationKey);
            var sources = source.RootElement.EnumerateObject().Where(property => property.Name != Checkpoint.QuantizationKey);
            if (document.RootElement.TryGetProperty(Checkpoint.QuantizationKey, out _)
                && others.SequenceEqual(
                    sources, EqualityComparer<JsonProperty>.Create(
                    (left, right) => left.Name == right.Name && JsonElement.DeepEquals(left.Value, right.Value))))
            {
                return;
            }
        }
        catch (Exception exception) when (exception is JsonException or InvalidOperationException)
        {
            throw new NibbleException($"{ArtifactManifest.FileName} next to {path}: config is not a JSON object: {exception.Message}", exception);
        }

        throw new NibbleException(
            $"{path} and {ArtifactManifest.FileName} next to it disagree about the model's configuration. One of them was edited or belongs to another model.");
    }
}
