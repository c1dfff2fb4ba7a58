using Nibble.Files;
using Nibble.Formats.HuggingFace;

namespace Nibble.Onnx;

/// <summary>Copies a model's tokenizer and generation settings next to its exported file, where engines look for them.</summary>
internal static class TokenizerFilesBeside
{
    /// <summary>Copies the tokenizer files of a folder.</summary>
    /// <param name="folder">The model's folder.</param>
    /// <param name="path">The exported file, which need not exist yet. Its folder is created if it is missing.</param>
    /// <returns>The files that were written.</returns>
    /// <exception cref="NibbleException">A file of another model is there. Nothing was written.</exception>
    public static IReadOnlyList<string> Write(string folder, string path)
    {
        var target = Path.GetDirectoryName(Path.GetFullPath(path))!;
        var missing = new List<(string Path, byte[] Bytes)>();
        foreach (var source in TextTokenizer.FilesIn(folder))
        {
            var (copy, bytes) = (Path.Combine(target, Path.GetFileName(source)), File.ReadAllBytes(source));
            if (!File.Exists(copy))
            {
                missing.Add((copy, bytes));
            }
            else if (!bytes.AsSpan().SequenceEqual(File.ReadAllBytes(copy)))
            {
                throw new NibbleException($"{copy} belongs to another model than {folder}, whose file must be next to {Path.GetFileName(path)}. Export into a "
                    + $"separate folder, for example {Path.Combine(target, Path.GetFileNameWithoutExtension(path), "model.onnx")}");
            }
        }

        Directory.CreateDirectory(target);
        foreach (var (copy, bytes) in missing)
        {
            AtomicFile.Write(copy, stream => stream.Write(bytes));
        }

        return missing.ConvertAll(file => file.Path);
    }
}
