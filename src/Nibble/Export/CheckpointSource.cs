using Nibble.Artifacts;
using Nibble.Files;
using Nibble.Formats.CompressedTensors;
using Nibble.Formats.HuggingFace;

namespace Nibble.Export;

/// <summary>The tensors of a float checkpoint.</summary>
internal sealed class CheckpointSource(Checkpoint checkpoint) : IFolderSource
{
    public string Folder => checkpoint.Folder;

    public string Place => Folder;

    public string ConfigPlace => Path.Combine(Folder, Checkpoint.ConfigName);

    public string ConfigJson => checkpoint.ConfigJson;

    public ArtifactManifest? Manifest => null;

    public IEnumerable<string> Names => checkpoint.TensorNames;

    /// <summary>The checkpoint.</summary>
    public Checkpoint Checkpoint => checkpoint;

    public void Dispose() => checkpoint.Dispose();

    public QuantizedLayer? Layer(string name) => null;

    public (int Rows, int Columns)? SizeOf(string name) => null;

    /// <summary>Rejects NaN and infinity in some tensors.</summary>
    public void RequireFinite(IEnumerable<string> names)
    {
        foreach (var name in names)
        {
            checkpoint.RequireFinite(name);
        }
    }

    public SourceTensor? Float(string name)
    {
        if (!checkpoint.Contains(name))
        {
            return null;
        }

        var entry = checkpoint.Entry(name);
        return entry.ElementType.IsFloatingPoint()
            ? new SourceTensor(name, [.. entry.Shape], entry.ElementType, () => checkpoint.ReadFloats(name),
                (start, values) => checkpoint.ReadFloats(name, start, values))
            : throw new NibbleException($"{Folder}: tensor '{name}' is stored as {entry.ElementType}, expected F32, F16 or BF16");
    }
}
