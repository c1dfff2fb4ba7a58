using Nibble.Files;
using System.Text;
using Nibble.Formats.HuggingFace;
using IoPath = System.IO.Path;

namespace Nibble.Cli.Engines;

/// <summary>A file that an engine runs, as opposed to the folder of a model or an artifact.</summary>
/// <param name="Path">The file.</param>
/// <param name="Engine">The engine that runs it.</param>
internal sealed record ExportedFile(string Path, string Engine)
{
    private const string OnnxName = "model.onnx";

    /// <summary>The name: the file name without extension, or the folder's name if the file is just called model.</summary>
    public string Name => IoPath.GetFileName(Path) == OnnxName && IoPath.GetFileName(Folder) is { Length: > 0 } folder
        ? folder
        : IoPath.GetFileNameWithoutExtension(Path);

    /// <summary>The folder of the file.</summary>
    public string Folder => IoPath.GetDirectoryName(IoPath.GetFullPath(Path))!;

    /// <summary>The file, and its separate file of tensors if there is one.</summary>
    public IReadOnlyList<string> Files => [.. ((string[])[Path, Path + ".data"]).Where(File.Exists)];

    /// <summary>The size of all its files in bytes.</summary>
    public long Bytes => Files.Sum(InputFile.Length);

    /// <summary>Finds the exported file of a path: a GGUF or ONNX file, or a folder with <c>model.onnx</c> and no checkpoint.</summary>
    /// <returns>Null if the path is the folder of a model or an artifact, or does not exist.</returns>
    public static ExportedFile? Find(string path)
    {
        if (Directory.Exists(path))
        {
            var file = IoPath.Combine(path, OnnxName);
            return File.Exists(file) && !IsCheckpoint(path) ? new ExportedFile(file, OnnxRuntimeEngine.EngineName) : null;
        }

        return !File.Exists(path) ? null
            : path.EndsWith(".onnx", StringComparison.OrdinalIgnoreCase) ? new ExportedFile(path, OnnxRuntimeEngine.EngineName)
            : IsGguf(path) ? new ExportedFile(path, LlamaCppEngine.EngineName)
            : null;
    }

    /// <summary>The exported file of a path.</summary>
    /// <exception cref="NibbleException">There is none.</exception>
    public static ExportedFile Require(string path) => Find(path) ?? throw new NibbleException(
        IoPath.Exists(path) ? $"{path} is not an exported file; expected a GGUF file, an ONNX file (*.onnx) or a folder with {OnnxName}; nibble export "
            + $"makes one from a model or an artifact" : $"there is no file {path}");

    private static bool IsCheckpoint(string folder) =>
        File.Exists(IoPath.Combine(folder, Checkpoint.WeightsName)) || File.Exists(IoPath.Combine(folder, Checkpoint.IndexName));

    private static bool IsGguf(string path)
    {
        InputFile.RequireRegular(path);
        var magic = new byte[4];
        using var stream = File.OpenRead(path);
        return stream.ReadAtLeast(magic, magic.Length, throwOnEndOfStream: false) == magic.Length && Encoding.ASCII.GetString(magic) == "GGUF";
    }
}
