using System.Security.Cryptography;
using Microsoft.Win32.SafeHandles;

namespace Nibble.Files;

/// <summary>Writes files and folders atomically: writes to a temporary name next to the target, flushes to disk and renames.</summary>
internal static class AtomicFile
{
    private const string TemporaryMark = ".tmp-";

    /// <summary>Writes a file of a known length in any order, from several threads.</summary>
    /// <param name="path">The file.</param>
    /// <param name="length">The number of bytes. Bytes that are not written are 0.</param>
    /// <param name="write">Writes it.</param>
    /// <param name="replace">Whether an existing file is replaced once the new one is complete. Otherwise it is an error.</param>
    /// <exception cref="IOException">The disk has too little space for the file.</exception>
    /// <exception cref="NibbleException">The file exists and must not be replaced.</exception>
    public static void WriteAt(string path, long length, Action<SafeFileHandle> write, bool replace = true)
    {
        ArgumentNullException.ThrowIfNull(write);
        DiskSpace.Require(path, length, "the file");
        Write(path, replace, temporary =>
        {
            using var handle = File.OpenHandle(temporary, FileMode.CreateNew, FileAccess.Write, FileShare.None);
            RandomAccess.SetLength(handle, length);
            write(handle);
            RandomAccess.FlushToDisk(handle);
        });
    }

    /// <summary>Writes a file.</summary>
    /// <param name="path">The file.</param>
    /// <param name="write">Writes it.</param>
    /// <param name="replace">Whether an existing file is replaced once the new one is complete. Otherwise it is an error.</param>
    /// <exception cref="NibbleException">The file exists and must not be replaced.</exception>
    public static void Write(string path, Action<Stream> write, bool replace = true)
    {
        ArgumentNullException.ThrowIfNull(write);
        Write(path, replace, temporary =>
        {
            using var stream = new FileStream(temporary, FileMode.CreateNew, FileAccess.Write, FileShare.None, bufferSize: 1 << 16);
            write(stream);
            stream.Flush(flushToDisk: true);
        });
    }

    /// <summary>Creates a folder, and its missing parent folders.</summary>
    /// <param name="path">The folder, which must not exist.</param>
    /// <param name="fill">Writes the contents into the folder that it is given.</param>
    /// <exception cref="NibbleException">A file or folder with this name exists.</exception>
    public static void MakeFolder(string path, Action<string> fill)
    {
        ArgumentNullException.ThrowIfNull(path);
        ArgumentNullException.ThrowIfNull(fill);
        var target = Path.TrimEndingDirectorySeparator(Path.GetFullPath(path));
        RequireAbsent(target);
        var temporary = TemporaryName(target);
        var kept = false;
        try
        {
            Directory.CreateDirectory(temporary);
            fill(temporary);
            kept = Exists(target);
            if (kept)
            {
                throw Taken(target, temporary);
            }

            Directory.Move(temporary, target);
        }
        finally
        {
            if (!kept && Directory.Exists(temporary))
            {
                Directory.Delete(temporary, recursive: true);
            }
        }
    }

    /// <summary>Whether a name is taken by a file, a folder, or a link, even a broken one.</summary>
    public static bool Exists(string path) => Path.Exists(path) || new FileInfo(path).LinkTarget is not null;

    /// <summary>Tests whether a file or folder could be written, and leaves nothing behind.</summary>
    /// <param name="path">The file or folder. Its parent folders may be missing.</param>
    /// <exception cref="IOException">It cannot be written.</exception>
    /// <exception cref="UnauthorizedAccessException">Access is denied.</exception>
    public static void Try(string path)
    {
        var full = Path.TrimEndingDirectorySeparator(Path.GetFullPath(path));
        var folder = Path.GetDirectoryName(full)!;
        for (; !Directory.Exists(folder) && Path.GetDirectoryName(folder) is { } above; folder = above)
        {
            if (File.Exists(folder))
            {
                throw new IOException($"{folder} is a file, expected a folder");
            }
        }

        // The real temporary name, so that a name that is too long is detected as well.
        var trial = TemporaryName(Path.Combine(folder, Path.GetFileName(full)));
        using (new FileStream(trial, FileMode.CreateNew, FileAccess.Write, FileShare.None))
        {
        }

        File.Delete(trial);
    }

    /// <summary>Whether a name is a temporary name of an entry, which a killed run may have left behind.</summary>
    /// <param name="name">The name.</param>
    /// <param name="entry">The final name of the entry.</param>
    public static bool IsTemporaryName(string name, string entry)
    {
        ArgumentNullException.ThrowIfNull(name);
        ArgumentNullException.ThrowIfNull(entry);
        return name.StartsWith(entry + TemporaryMark, StringComparison.Ordinal);
    }

    /// <summary>A unique temporary name for <paramref name="path"/>.</summary>
    /// <remarks>It is random, because process ids repeat when containers share a folder.</remarks>
    public static string TemporaryName(string path) =>
        $"{Path.TrimEndingDirectorySeparator(path)}{TemporaryMark}{Convert.ToHexStringLower(RandomNumberGenerator.GetBytes(8))}";

    private static void Write(string path, bool replace, Action<string> write)
    {
        ArgumentNullException.ThrowIfNull(path);
        if (!replace)
        {
            RequireAbsent(path);
        }

        var temporary = TemporaryName(path);
        var kept = false;
        try
        {
            write(temporary);
            kept = !replace && Exists(path);
            if (kept)
            {
                throw Taken(path, temporary);
            }

            File.Move(temporary, path, overwrite: replace);
        }
        finally
        {
            if (!kept)
            {
                File.Delete(temporary);
            }
        }
    }

    private static void RequireAbsent(string path)
    {
        if (Exists(path))
        {
            throw new NibbleException($"{path} exists already; choose another name, or delete it first");
        }
    }

    private static NibbleException Taken(string path, string temporary) =>
        new($"{path} did not exist when the work began but exists now, and was not overwritten; the output is in {temporary}");
}
