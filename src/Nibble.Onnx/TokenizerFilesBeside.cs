using Nibble.Files;
using Nibble.Formats.HuggingFace;

namespace Nibble.Onnx;

/// <summary>Puts a model's tokenizer, and what it says about generating, beside its exported file, where engines look for them.</summary>
internal static class TokenizerFilesBeside
{
    /// <summary>Copies the files that a folder has.</summary>
    /// <param name="folder">The model's folder.</param>
    /// <param name="path">The exported file, which need not be there yet; its folder is made where it is missing.</param>
    /// <returns>The files that were written.</returns>
    /// <exception cref="NibbleException">A file of another model lies there; nothing was written.</exception>
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
                throw new NibbleException($"{copy} is of another model than {folder}, whose own belongs beside {Path.GetFileName(path)}; export into a "
                    + $"folder of its own, such as {Path.Combine(target, Path.GetFileNameWithoutExtension(path), "model.onnx")}");
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
