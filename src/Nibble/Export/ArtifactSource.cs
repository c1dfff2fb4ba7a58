using Nibble.Artifacts;
using Nibble.Files;
using Nibble.Formats.CompressedTensors;
using Nibble.Formats.HuggingFace;

namespace Nibble.Export;

/// <summary>The tensors of an artifact, read on demand.</summary>
internal sealed class ArtifactSource : IFolderSource
{
    private readonly ArtifactReader reader;
    private ArtifactManifest? manifest;

    /// <summary>Opens an artifact and checks the names of its tensors.</summary>
    /// <exception cref="NibbleException">The folder holds no saved model, or a tensor is missing or unknown.</exception>
    public ArtifactSource(string folder)
    {
        reader = ArtifactReader.Open(folder);
        try
        {
            StaticKeys = reader.RequireNames();
        }
        catch
        {
            reader.Dispose();
            throw;
        }
    }

    public string Folder => reader.Folder;

    public string Place => Folder;

    public string ConfigPlace => Path.Combine(Folder, Checkpoint.ConfigName);

    public string ConfigJson => Manifest.ConfigJson;

    public ArtifactManifest Manifest => manifest ??= reader.Manifest.Normalized();

    /// <summary>The fixed parameters of keys, block by block.</summary>
    public IReadOnlyList<KeyQuantization> StaticKeys { get; }

    public IEnumerable<string> Names => Manifest.Layers.Select(layer => layer.Name).Concat(Manifest.FloatTensors);

    public void Dispose() => reader.Dispose();

    public QuantizedLayer? Layer(string name) => reader.Layer(name);

    public (int Rows, int Columns)? SizeOf(string name) => reader.SizeOf(name);

    public SourceTensor? Float(string name)
    {
        if (reader.Float(name) is not { } entry)
        {
            return null;
        }

        return entry.ElementType.IsFloatingPoint()
            ? new SourceTensor(name, [.. entry.Shape], entry.ElementType, () => Read(entry.Count), (start, values) => reader.ReadFloats(name, start, values))
            : throw new NibbleException($"{Folder}: tensor '{name}' is stored as {entry.ElementType}, expected F32, F16 or BF16");

        float[] Read(long count)
        {
            var values = count <= Array.MaxLength ? new float[count]
                : throw new NibbleException($"{Folder}: tensor '{name}' has {count} values; at most {Array.MaxLength} can be read into an array");
            reader.ReadFloats(name, 0, values);
            return values;
        }
    }
}
