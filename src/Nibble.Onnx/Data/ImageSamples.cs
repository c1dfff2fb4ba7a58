namespace Nibble.Onnx.Data;

/// <summary>Images in files of their own.</summary>
/// <param name="place">The folder or the file, for descriptions.</param>
/// <param name="paths">The files in their order.</param>
/// <param name="others">The number of other files in the folder, which are not read.</param>
/// <param name="input">The input that they are for.</param>
internal sealed class ImageSamples(string place, IReadOnlyList<string> paths, int others, ImageInput input) : IFileSamples
{
    /// <inheritdoc/>
    public long? Count => paths.Count;

    /// <inheritdoc/>
    public string Description => $"{paths.Count} {(paths.Count == 1 ? "image" : "images")} of {place}"
        + (others == 0 ? "" : $" ({others} other {(others == 1 ? "file was" : "files were")} not read)");

    /// <inheritdoc/>
    public IEnumerable<PlacedSample> Read() => paths.Select(path => new PlacedSample([input.Convert(ImageFile.Read(path), path)], path));
}
