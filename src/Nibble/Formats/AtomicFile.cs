using Microsoft.Win32.SafeHandles;

namespace Nibble.Formats;

/// <summary>Writes a file so that its name never stands for half of it: a temporary name beside it, flush to disk, rename.</summary>
public static class AtomicFile
{
    /// <summary>Writes a file of a known length in any order, from several threads, replacing one of that name once it is whole.</summary>
    /// <param name="path">The file.</param>
    /// <param name="length">Its bytes; those that are not written are 0.</param>
    /// <param name="write">Writes it.</param>
    public static void WriteAt(string path, long length, Action<SafeFileHandle> write)
    {
        var temporary = $"{path}.tmp-{Environment.ProcessId}";
        try
        {
            using (var handle = File.OpenHandle(temporary, FileMode.Create, FileAccess.Write, FileShare.None))
            {
                RandomAccess.SetLength(handle, length);
                write(handle);
                RandomAccess.FlushToDisk(handle);
            }

            File.Move(temporary, path, overwrite: true);
        }
        finally
        {
            File.Delete(temporary);
        }
    }

    /// <summary>Writes <paramref name="path"/>, replacing a file of that name once the new one is whole.</summary>
    public static void Write(string path, Action<Stream> write)
    {
        var temporary = $"{path}.tmp-{Environment.ProcessId}";
        try
        {
            using (var stream = new FileStream(temporary, FileMode.Create, FileAccess.Write, FileShare.None, bufferSize: 1 << 16))
            {
                write(stream);
                stream.Flush(flushToDisk: true);
            }

            File.Move(temporary, path, overwrite: true);
        }
        finally
        {
            File.Delete(temporary);
        }
    }
}
