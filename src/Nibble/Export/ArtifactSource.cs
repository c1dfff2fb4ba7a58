using Nibble.Artifacts;
using Nibble.Formats.CompressedTensors;
using Nibble.Formats.HuggingFace;

namespace Nibble.Export;

/// <summary>The tensors of an artifact.</summary>
internal sealed class ArtifactSource : IFolderSource
{
    private readonly Dictionary<string, QuantizedLayer> layers;
    private readonly Dictionary<string, FloatTensor> floats;
    private ArtifactManifest? manifest;

    public ArtifactSource(string folder)
    {
        Folder = folder;
        Model = QuantizedModelFile.Load(folder);
        layers = Model.Layers.ToDictionary(layer => layer.Name, StringComparer.Ordinal);
        floats = Model.FloatTensors.ToDictionary(tensor => tensor.Name, StringComparer.Ordinal);
    }

    public string Folder { get; }

    public string Place => Folder;

    public string ConfigPlace => Path.Combine(Folder, Checkpoint.ConfigName);

    public string ConfigJson => Model.ConfigJson;

    public ArtifactManifest Manifest => manifest ??= ArtifactManifest.Of(Model);

    /// <summary>The artifact.</summary>
    public QuantizedModel Model { get; }

    public IEnumerable<string> Names => layers.Keys.Concat(floats.Keys);

    public void Dispose()
    {
    }

    public QuantizedLayer? Layer(string name) => layers.GetValueOrDefault(name);

    public SourceTensor? Float(string name) => floats.TryGetValue(name, out var tensor)
        ? new SourceTensor(name, [.. tensor.Shape.Select(size => (long)size)], tensor.StoredAs, () => tensor.Values) : null;
}
