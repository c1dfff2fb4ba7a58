using System.Globalization;

namespace Nibble.Files;

/// <summary>Checks before the work begins whether a disk has space for the output.</summary>
internal static class DiskSpace
{
    /// <summary>Throws if a disk has less space than needed.</summary>
    /// <param name="path">The file or folder to be written, which need not exist.</param>
    /// <param name="bytes">Bytes that it will take in addition to what is already there.</param>
    /// <param name="what">What takes the space, for the message.</param>
    /// <exception cref="IOException">The disk has fewer bytes free.</exception>
    public static void Require(string path, long bytes, string what)
    {
        if (Free(path) is { } free && free < bytes)
        {
            throw new IOException(string.Create(
                CultureInfo.InvariantCulture,
                $"{path}: {what} takes {bytes:N0} bytes, but the disk has {free:N0} free; free up space, or write to another disk"));
        }
    }

    /// <summary>The nearest existing folder above a path, or the path itself if it is a folder.</summary>
    public static string NearestFolder(string path)
    {
        var folder = Path.GetFullPath(path);
        while (!Directory.Exists(folder) && Path.GetDirectoryName(folder) is { } above)
        {
            folder = above;
        }

        return folder;
    }

    /// <summary>The total size of a folder's files in bytes; 0 if the folder does not exist.</summary>
    public static long Taken(string folder) => Directory.Exists(folder)
        ? new DirectoryInfo(folder).EnumerateFiles("*", SearchOption.AllDirectories).Sum(file => file.Length)
        : 0;

    /// <summary>Free bytes on the disk of a path; null if the system does not report them.</summary>
    private static long? Free(string path)
    {
        try
        {
            // Some network and user-space file systems report no size.
            var drive = new DriveInfo(NearestFolder(path));
            return drive.TotalSize > 0 ? drive.AvailableFreeSpace : null;
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException or ArgumentException)
        {
            return null;
        }
    }
}
