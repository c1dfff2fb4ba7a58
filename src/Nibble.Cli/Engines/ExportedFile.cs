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

    /// <summary>What the file is called: its name without its kind, or that of its folder where it is just a model.</summary>
    public string Name => IoPath.GetFileName(Path) == OnnxName && IoPath.GetFileName(Folder) is { Length: > 0 } folder
        ? folder
        : IoPath.GetFileNameWithoutExtension(Path);

    /// <summary>The folder that the file lies in.</summary>
    public string Folder => IoPath.GetDirectoryName(IoPath.GetFullPath(Path))!;

    /// <summary>The file, and its tensors' file beside it where there is one.</summary>
    public IReadOnlyList<string> Files => [.. ((string[])[Path, Path + ".data"]).Where(File.Exists)];

    /// <summary>Bytes of all its files.</summary>
    public long Bytes => Files.Sum(InputFile.Length);

    /// <summary>Finds the file that a path means: a GGUF or ONNX file, or a folder with <c>model.onnx</c> that holds no checkpoint.</summary>
    /// <returns>Null where it is the folder of a model or an artifact, or nothing.</returns>
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

    /// <summary>The exported file that a path means.</summary>
    /// <exception cref="NibbleException">It means no such file.</exception>
    public static ExportedFile Require(string path) => Find(path) ?? throw new NibbleException(
        IoPath.Exists(path) ? $"{path} is no exported file: expected a GGUF file, an ONNX file (*.onnx) or a folder with {OnnxName}; nibble export makes one "
            + $"of a model or an artifact" : $"there is no file {path}");

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
