using Nibble.Artifacts;
using Nibble.Formats.CompressedTensors;
using Nibble.Formats.HuggingFace;

namespace Nibble.Export;

/// <summary>The tensors of an artifact.</summary>
internal sealed class ArtifactSource(string folder) : IModelSource
{
    private readonly QuantizedModel model = QuantizedModelFile.Load(folder);
    private Dictionary<string, QuantizedLayer>? layers;
    private Dictionary<string, FloatTensor>? floats;
    private ArtifactManifest? manifest;

    public string Folder => folder;

    public string Place => folder;

    public string ConfigPlace => Path.Combine(folder, Checkpoint.ConfigName);

    public string ConfigJson => model.ConfigJson;

    public ArtifactManifest Manifest => manifest ??= ArtifactManifest.Of(model);

    /// <summary>The artifact.</summary>
    public QuantizedModel Model => model;

    public IEnumerable<string> Names => Layers.Keys.Concat(Floats.Keys);

    private Dictionary<string, QuantizedLayer> Layers => layers ??= model.Layers.ToDictionary(layer => layer.Name, StringComparer.Ordinal);

    private Dictionary<string, FloatTensor> Floats => floats ??= model.FloatTensors.ToDictionary(tensor => tensor.Name, StringComparer.Ordinal);

    public void Dispose()
    {
    }

    public QuantizedLayer? Layer(string name, int rows, int columns) => Layers.GetValueOrDefault(name);

    public SourceTensor? Float(string name) => Floats.TryGetValue(name, out var tensor)
        ? new SourceTensor(name, [.. tensor.Shape.Select(size => (long)size)], tensor.StoredAs, () => tensor.Values) : null;
}
