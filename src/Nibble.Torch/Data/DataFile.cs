using System.Globalization;
using Nibble.Files;

namespace Nibble.Torch.Data;

/// <summary>A file of a data set. A data set may have several, which are read in order as if they were one.</summary>
/// <param name="Path">The file, which may be a pipe.</param>
/// <param name="Text">Its text.</param>
/// <param name="IsJsonLines">Whether the text is JSON lines.</param>
internal sealed record DataFile(string Path, string Text, bool IsJsonLines)
{
    /// <summary>The number of files up to which the name of a data set names them all.</summary>
    private const int MostNamed = 3;

    /// <summary>A string holds a little more. Longer text would fail as if memory had run out.</summary>
    private const long MostCharacters = 1_000_000_000;

    /// <summary>Reads the files of a data set.</summary>
    /// <param name="paths">The files, at least one.</param>
    /// <param name="plain">What a file holds that is not JSON lines, for messages.</param>
    /// <param name="missing">The message about a missing file, after its name.</param>
    /// <param name="expected">What is expected instead of a folder, for messages.</param>
    /// <param name="cancellation">Cancels waiting for a pipe.</param>
    /// <exception cref="NibbleException">A file is missing or not UTF-8 text, they are too long together, or only some are JSON lines.</exception>
    public static IReadOnlyList<DataFile> Read(
        IReadOnlyList<string> paths, string plain, string missing, string expected, CancellationToken cancellation)
    {
        ArgumentNullException.ThrowIfNull(paths);
        ArgumentOutOfRangeException.ThrowIfZero(paths.Count);
        var files = new List<DataFile>(paths.Count);
        var characters = 0L;
        foreach (var path in paths)
        {
            if (!File.Exists(path))
            {
                throw new NibbleException(Directory.Exists(path) ? $"{path} is a folder, expected {expected}" : $"{path}: {missing}");
            }

            var text = InputFile.ReadText(path, cancellation);
            characters += text.Length;
            if (characters > MostCharacters)
            {
                throw new NibbleException(string.Create(
                    CultureInfo.InvariantCulture, $"{NameOf(paths)} have more than {MostCharacters:N0} characters together; use a part of the files"));
            }

            files.Add(new DataFile(path, text, JsonLines.IsIn(text)));
            if (files[^1].IsJsonLines != files[0].IsJsonLines)
            {
                var (lines, other) = files[0].IsJsonLines ? (files[0], files[^1]) : (files[^1], files[0]);
                throw new NibbleException(
                    $"{lines.Path} has JSON lines, but {other.Path} has {plain}; expected files of one kind, because they are read as one data set");
            }
        }

        return files;
    }

    /// <summary>The name of a data set, for messages. For a pipe, the full path is used, because its number alone means nothing.</summary>
    public static string NameOf(IReadOnlyList<string> paths) => paths.Count <= MostNamed
        ? string.Join(" + ", paths.Select(NameOf))
        : string.Create(CultureInfo.InvariantCulture, $"{NameOf(paths[0])} and {paths.Count - 1} more files");

    private static string NameOf(string path) => path.StartsWith("/dev/", StringComparison.Ordinal) || path.StartsWith("/proc/", StringComparison.Ordinal)
        ? path
        : System.IO.Path.GetFileName(path);
}
