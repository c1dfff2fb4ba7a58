using System.Globalization;

namespace Nibble.Files;

/// <summary>Finds out before the work begins whether a disk can take what the work will write.</summary>
internal static class DiskSpace
{
    /// <summary>Refuses to write more than a disk has room for.</summary>
    /// <param name="path">The file or folder to be written, which need not exist.</param>
    /// <param name="bytes">Bytes that it will take beside what is there already.</param>
    /// <param name="what">What takes them, for the message.</param>
    /// <exception cref="IOException">The disk has fewer bytes free.</exception>
    public static void Require(string path, long bytes, string what)
    {
        if (Free(path) is { } free && free < bytes)
        {
            throw new IOException(string.Create(
                CultureInfo.InvariantCulture,
                $"{path}: {what} takes {bytes:N0} bytes, and the disk has {free:N0} free; free some, or write to another disk"));
        }
    }

    /// <summary>The nearest folder above a path that exists, or the path itself where it is a folder.</summary>
    public static string NearestFolder(string path)
    {
        var folder = Path.GetFullPath(path);
        while (!Directory.Exists(folder) && Path.GetDirectoryName(folder) is { } above)
        {
            folder = above;
        }

        return folder;
    }

    /// <summary>Bytes that a folder's files take; 0 where there is none.</summary>
    public static long Taken(string folder) => Directory.Exists(folder)
        ? new DirectoryInfo(folder).EnumerateFiles("*", SearchOption.AllDirectories).Sum(file => file.Length)
        : 0;

    /// <summary>Bytes that the disk behind a path has free; null where the system does not tell.</summary>
    private static long? Free(string path)
    {
        try
        {
            // Some network and user-space file systems know no size.
            var drive = new DriveInfo(NearestFolder(path));
            return drive.TotalSize > 0 ? drive.AvailableFreeSpace : null;
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException or ArgumentException)
        {
            return null;
        }
    }
}
