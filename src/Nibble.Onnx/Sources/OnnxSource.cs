using Nibble.Export;
using Nibble.Formats.CompressedTensors;
using Nibble.Artifacts;
using Nibble.Onnx.Layers;

namespace Nibble.Onnx.Sources;

/// <summary>The tensors of an ONNX file that Nibble exported, as they were in the exported folder.</summary>
internal sealed class OnnxSource : IModelSource
{
    private readonly Dictionary<string, ManifestLayer> described = new(StringComparer.Ordinal);
    private readonly HashSet<string> floatNames = new(StringComparer.Ordinal);
    private readonly Dictionary<string, QuantizedLayer> layers = new(StringComparer.Ordinal);
    private readonly Dictionary<string, SourceTensor> floats = new(StringComparer.Ordinal);

    public OnnxSource(OnnxFile file)
    {
        File = file;
        (Manifest, ConfigJson, ConfigPlace) = OnnxMetadata.Describe(
            file.Path, name => file.Metadata.FirstOrDefault(entry => entry.Key == name).Value, file.Producer);
        foreach (var layer in Manifest?.Layers ?? [])
        {
            Require(described.TryAdd(layer.Name, layer), $"names the layer '{layer.Name}' twice");
            Require(layer.Shape is null, $"gives the layer '{layer.Name}' its own shape, expected a matrix");
        }

        foreach (var name in Manifest?.FloatTensors ?? [])
        {
            Require(floatNames.Add(name), $"names the tensor '{name}' twice");
        }
    }

    /// <summary>The file.</summary>
    public OnnxFile File { get; }

    public string Folder => Path.GetDirectoryName(Path.GetFullPath(File.Path))!;

    public string Place => File.Path;

    public string ConfigPlace { get; }

    public string ConfigJson { get; }

    public ArtifactManifest? Manifest { get; }

    public IEnumerable<string> Names => described.Keys.Concat(floatNames);

    /// <summary>The quantized layers that have been read, in the artifact's order.</summary>
    public IEnumerable<QuantizedLayer> Layers => Manifest?.Layers.Where(layer => layers.ContainsKey(layer.Name)).Select(layer => layers[layer.Name]) ?? [];

    /// <summary>The float tensors that have been read, in the artifact's order, or in the graph's order for a float model.</summary>
    public IEnumerable<SourceTensor> Floats => Manifest?.FloatTensors.Where(floats.ContainsKey).Select(name => floats[name]) ?? floats.Values;

    public void Dispose()
    {
    }

    /// <summary>A quantized layer. Null if there is no layer with this name.</summary>
    /// <param name="name">Its name.</param>
    /// <param name="rows">The expected number of rows of its weight.</param>
    /// <param name="columns">The expected number of columns of its weight.</param>
    /// <param name="reader">Reads the layer from the file.</param>
    public QuantizedLayer? Layer(string name, int rows, int columns, LayerReader reader)
    {
        if (!described.TryGetValue(name, out var layer))
        {
            return null;
        }

        var read = reader(File, layer, rows,
            columns) with
        { InputTransform = layer.Transform, WeightMethod = layer.Scheme.WeightMethod, InputMethod = layer.Scheme.ActivationMethod };
        layers[name] = read.FindFault() is { } fault ? throw File.Refused($"the layer '{name}' {fault}, which is {layer.Scheme.Weights}") : read;
        return read;
    }

    public SourceTensor? Float(string name)
    {
        var tensor = Manifest is null || floatNames.Contains(name) ? FloatConstant.Read(File, name) : null;
        if (tensor is not null)
        {
            floats[name] = tensor;
        }

        return tensor;
    }

    private void Require(bool condition, string fault)
    {
        if (!condition)
        {
            throw File.Refused($"metadata {OnnxMetadata.Artifact} {fault}");
        }
    }
}
