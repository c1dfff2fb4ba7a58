using Nibble.Artifacts;
using Nibble.Formats.HuggingFace;

namespace Nibble.Onnx.Sources;

/// <summary>The tensors of an artifact.</summary>
internal sealed class ArtifactSource(string folder, QuantizedModel model) : IModelSource
{
    private readonly Dictionary<string, QuantizedLayer> layers = model.Layers.ToDictionary(layer => layer.Name, StringComparer.Ordinal);
    private readonly Dictionary<string, FloatTensor> floats = model.FloatTensors.ToDictionary(tensor => tensor.Name, StringComparer.Ordinal);

    public string Folder => folder;

    public string Place => folder;

    public string ConfigPlace => Path.Combine(folder, Checkpoint.ConfigName);

    public string ConfigJson => model.ConfigJson;

    public ArtifactManifest Manifest { get; } = ArtifactManifest.Of(model);

    public IEnumerable<string> Names => layers.Keys.Concat(floats.Keys);

    public void Dispose()
    {
    }

    public QuantizedLayer? Layer(string name, int rows, int columns, LayerReader reader) => layers.GetValueOrDefault(name);

    public SourceTensor? Float(string name) =>
        floats.TryGetValue(name, out var tensor) ? new SourceTensor(name, [.. tensor.Shape.Select(size => (long)size)], tensor.StoredAs, () => tensor.Values)
            : null;
}
