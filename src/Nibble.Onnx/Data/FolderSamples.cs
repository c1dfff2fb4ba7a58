namespace Nibble.Onnx.Data;

/// <summary>The samples of a folder of <c>.npy</c> and <c>.npz</c> files.</summary>
/// <param name="folder">The folder.</param>
/// <param name="files">The files in their order.</param>
/// <param name="others">The number of other files in the folder, which are not read.</param>
internal sealed class FolderSamples(string folder, IReadOnlyList<ArraySamples> files, int others) : IFileSamples
{
    /// <inheritdoc/>
    public long? Count => files.Sum(file => file.Count);

    /// <inheritdoc/>
    public string Description => $"{Count} {(Count == 1 ? "sample" : "samples")} in {files.Count} {(files.Count == 1 ? "file" : "files")} of {folder}"
        + (others == 0 ? "" : $" ({others} other {(others == 1 ? "file was" : "files were")} not read)");

    /// <inheritdoc/>
    public IEnumerable<PlacedSample> Read() => files.SelectMany(file => file.Read());
}
