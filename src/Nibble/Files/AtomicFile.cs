using System.Security.Cryptography;
using Microsoft.Win32.SafeHandles;

namespace Nibble.Files;

/// <summary>Writes files and folders so that a name never stands for half of one: a temporary name beside it, flush to disk, rename.</summary>
internal static class AtomicFile
{
    private const string TemporaryMark = ".tmp-";

    /// <summary>Writes a file of a known length in any order, from several threads.</summary>
    /// <param name="path">The file.</param>
    /// <param name="length">Its bytes; those that are not written are 0.</param>
    /// <param name="write">Writes it.</param>
    /// <param name="replace">Whether a file of that name is replaced, once the new one is whole; otherwise it is an error.</param>
    /// <exception cref="IOException">The disk has no room for the file.</exception>
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
    /// <param name="replace">Whether a file of that name is replaced, once the new one is whole; otherwise it is an error.</param>
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

    /// <summary>Makes a folder, and those above it where they are missing.</summary>
    /// <param name="path">The folder, which must not exist.</param>
    /// <param name="fill">Puts its contents into the folder that it is given.</param>
    /// <exception cref="NibbleException">Something of that name exists.</exception>
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

    /// <summary>Whether anything has a name: a file, a folder, or a link, even one that leads nowhere.</summary>
    public static bool Exists(string path) => Path.Exists(path) || new FileInfo(path).LinkTarget is not null;

    /// <summary>Tries whether a file or folder could be written, and leaves nothing behind.</summary>
    /// <param name="path">The file or folder; of those above it some may be missing.</param>
    /// <exception cref="IOException">It could not.</exception>
    /// <exception cref="UnauthorizedAccessException">It must not be.</exception>
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

        // The real temporary name, so that a name too long is found too.
        var trial = TemporaryName(Path.Combine(folder, Path.GetFileName(full)));
        using (new FileStream(trial, FileMode.CreateNew, FileAccess.Write, FileShare.None))
        {
        }

        File.Delete(trial);
    }

    /// <summary>Whether a name is a temporary one of an entry: what a run that was killed may have left.</summary>
    /// <param name="name">The name.</param>
    /// <param name="entry">What the entry is called once it is whole.</param>
    public static bool IsTemporaryName(string name, string entry)
    {
        ArgumentNullException.ThrowIfNull(name);
        ArgumentNullException.ThrowIfNull(entry);
        return name.StartsWith(entry + TemporaryMark, StringComparison.Ordinal);
    }

    /// <summary>A name for what will be called <paramref name="path"/> once it is whole, which nobody else takes.</summary>
    /// <remarks>It is drawn at random: process ids repeat where containers share a folder.</remarks>
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
        new($"{path} exists now, though it did not when the work began, and is left as it is; what was made is in {temporary}");
}
