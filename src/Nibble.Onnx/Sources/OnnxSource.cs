using Nibble.Export;
using Nibble.Formats.CompressedTensors;
using Nibble.Artifacts;
using Nibble.Onnx.Layers;

namespace Nibble.Onnx.Sources;

/// <summary>The tensors of an ONNX file that Nibble wrote, as they were in the folder that it was made from.</summary>
internal sealed class OnnxSource : IModelSource
{
    private readonly Dictionary<string, ManifestLayer> described = new(StringComparer.Ordinal);
    private readonly HashSet<string> floatNames = new(StringComparer.Ordinal);
    private readonly Dictionary<string, QuantizedLayer> layers = new(StringComparer.Ordinal);
    private readonly Dictionary<string, SourceTensor> floats = new(StringComparer.Ordinal);

    public OnnxSource(OnnxFile file)
    {
        File = file;
        Manifest = Text(OnnxMetadata.Artifact) is { } manifest ? ArtifactManifest.Parse(manifest, $"{file.Path}, metadata {OnnxMetadata.Artifact}") : null;
        var producer = file.Producer.Length == 0 ? "it does not tell what made it" : $"this one is of {file.Producer}";
        ConfigJson = Manifest?.ConfigJson ?? Text(OnnxMetadata.Config) ?? throw file.Refused(
            $"ONNX files of other tools are not supported ({producer}): its metadata have neither {OnnxMetadata.Artifact} "
            + $"nor {OnnxMetadata.Config}, as those of a file have that this version of nibble export wrote; "
            + "use the folder that it was made from, or export that again");
        foreach (var layer in Manifest?.Layers ?? [])
        {
            Require(described.TryAdd(layer.Name, layer), $"names the layer '{layer.Name}' twice");
            Require(layer.Shape is null, $"gives the layer '{layer.Name}' a shape of its own, expected a matrix");
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

    public string ConfigPlace => $"{File.Path}, metadata {(Manifest is null ? OnnxMetadata.Config : OnnxMetadata.Artifact)}";

    public string ConfigJson { get; }

    public ArtifactManifest? Manifest { get; }

    public IEnumerable<string> Names => described.Keys.Concat(floatNames);

    /// <summary>The quantized layers that were asked for, in the artifact's order.</summary>
    public IEnumerable<QuantizedLayer> Layers => Manifest?.Layers.Where(layer => layers.ContainsKey(layer.Name)).Select(layer => layers[layer.Name]) ?? [];

    /// <summary>The float tensors that were asked for, in the artifact's order, or that of the graph where there is none.</summary>
    public IEnumerable<SourceTensor> Floats => Manifest?.FloatTensors.Where(floats.ContainsKey).Select(name => floats[name]) ?? floats.Values;

    public void Dispose()
    {
    }

    /// <summary>A quantized layer; null where the name is of none.</summary>
    /// <param name="name">Its name.</param>
    /// <param name="rows">Rows that its weight should have.</param>
    /// <param name="columns">Columns that its weight should have.</param>
    /// <param name="reader">How the file holds it.</param>
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

    private string? Text(string name) => File.Metadata.FirstOrDefault(entry => entry.Key == name).Value;

    private void Require(bool condition, string fault)
    {
        if (!condition)
        {
            throw File.Refused($"metadata {OnnxMetadata.Artifact} {fault}");
        }
    }
}
