using System.IO.Hashing;
using System.Text;

namespace Nibble.Files;

/// <summary>The checksums of a folder's files, in one more file of it, so that damage is noticed before anything is computed from them.</summary>
internal static class FolderChecksums
{
    /// <summary>The file: a line for each other file, its checksum in hexadecimal and its name.</summary>
    public const string FileName = "checksums.txt";

    /// <summary>Writes the checksums of all files that are in a folder now.</summary>
    public static void Write(string folder)
    {
        var text = Text(folder);
        AtomicFile.Write(Path.Combine(folder, FileName), stream => stream.Write(Encoding.UTF8.GetBytes(text)));
    }

    /// <summary>Refuses a folder whose files are not those of which the checksums were written.</summary>
    /// <param name="folder">The folder.</param>
    /// <param name="remedy">What to do, for the message.</param>
    /// <exception cref="DamagedFileException">A file was changed, is missing or was added.</exception>
    public static void Require(string folder, string remedy)
    {
        var path = Path.Combine(folder, FileName);
        var expected = (File.Exists(path) ? File.ReadAllText(path) : string.Empty).Split('\n');
        var found = Text(folder).Split('\n');
        if (expected.Except(found).Concat(found.Except(expected)).FirstOrDefault() is { } wrong)
        {
            var name = wrong[(wrong.IndexOf(' ', StringComparison.Ordinal) + 1)..];
            throw new DamagedFileException(Path.Combine(folder, name), $"its checksum is not that in {FileName} beside it", remedy);
        }
    }

    private static string Text(string folder)
    {
        var files = Directory.EnumerateFiles(folder).Where(path => Path.GetFileName(path) != FileName).Order(StringComparer.Ordinal);
        return string.Concat(files.Select(path => $"{Of(path)} {Path.GetFileName(path)}\n"));
    }

    private static string Of(string path)
    {
        using var stream = new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.Read, bufferSize: 1);
        var hash = new XxHash128();
        hash.Append(stream);
        return Convert.ToHexStringLower(hash.GetCurrentHash());
    }
}
