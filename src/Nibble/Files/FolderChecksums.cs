using System.IO.Hashing;
using System.Text;

namespace Nibble.Files;

/// <summary>A file with the checksums of a folder's other files, so that damage is detected before they are used.</summary>
internal static class FolderChecksums
{
    /// <summary>The file. It has one line for each other file, with its checksum in hexadecimal and its name.</summary>
    public const string FileName = "checksums.txt";

    /// <summary>Writes the checksums of all files in a folder.</summary>
    public static void Write(string folder)
    {
        var text = Text(folder);
        AtomicFile.Write(Path.Combine(folder, FileName), stream => stream.Write(Encoding.UTF8.GetBytes(text)));
    }

    /// <summary>Rejects a folder whose files do not match their checksums.</summary>
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
            throw new DamagedFileException(Path.Combine(folder, name), $"its checksum is not the one in {FileName} next to it", remedy);
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
