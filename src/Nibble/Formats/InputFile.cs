using System.Runtime.InteropServices;
using System.Text;

namespace Nibble.Formats;

/// <summary>Reads files that users name: a path can lead to anything, such as a pipe that nobody writes to or a device without an end.</summary>
public static partial class InputFile
{
    /// <summary>A string holds a little more; what is longer would fail as if memory had run out.</summary>
    private const int MostCharacters = 1_000_000_000;

    private const int BufferLength = 1 << 16;

    /// <summary>Refuses pipes, sockets and devices, where opening can wait forever and reading need not end.</summary>
    /// <param name="path">The file. Where there is none, whoever opens it says so.</param>
    /// <exception cref="NibbleException">Something else than a regular file is there.</exception>
    public static void RequireRegular(string path)
    {
        ArgumentNullException.ThrowIfNull(path);
        if (KindOf(path) is { } kind)
        {
            throw new NibbleException($"{path} is {kind}, expected a regular file; copy what it gives into one first");
        }
    }

    /// <summary>The bytes of a regular file, where the path is a link too, of which <see cref="FileInfo.Length"/> gives the length of the link.</summary>
    /// <param name="path">The file, which must exist.</param>
    public static long Length(string path)
    {
        var file = new FileInfo(path);
        return file.ResolveLinkTarget(returnFinalTarget: true) is FileInfo target ? target.Length : file.Length;
    }

    /// <summary>Reads a text: UTF-8, or what a byte order mark says. It may come through a pipe.</summary>
    /// <param name="path">The file, pipe or device, which must exist.</param>
    /// <param name="cancellation">Gives up waiting for a pipe.</param>
    /// <exception cref="NibbleException">It holds a zero byte, as no text does, or is too long for a string.</exception>
    public static string ReadText(string path, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(path);
        if (KindOf(path) is null)
        {
            return ReadToEnd(path, cancellation);
        }

        // A pipe lets a reader wait for its writer and for all that is written: on another thread, so that the waiting can be given up.
        var reading = Task.Run(() => ReadToEnd(path, cancellation), CancellationToken.None);
        Task.WaitAny([reading], cancellation);
        return reading.GetAwaiter().GetResult();
    }

    private static string ReadToEnd(string path, CancellationToken cancellation)
    {
        using var reader = new StreamReader(path, Encoding.UTF8, detectEncodingFromByteOrderMarks: true);
        var text = new StringBuilder();
        var buffer = new char[BufferLength];
        for (int count; (count = reader.Read(buffer)) > 0; text.Append(buffer, 0, count))
        {
            cancellation.ThrowIfCancellationRequested();
            if (buffer.AsSpan(0, count).IndexOf('\0') is >= 0 and var place)
            {
                throw new NibbleException($"{path} is no text: its character {(long)text.Length + place} is a zero, expected a text in UTF-8");
            }

            if (text.Length > MostCharacters - count)
            {
                throw new NibbleException($"{path} has more than {MostCharacters:N0} characters; give a part of the text");
            }
        }

        return text.ToString();
    }

    /// <summary>What a path leads to; null for a regular file, a folder, nothing, or where the system does not tell.</summary>
    private static string? KindOf(string path)
    {
        if (!OperatingSystem.IsLinux())
        {
            return null;
        }

        const int currentFolder = -100;
        const uint onlyTheType = 1;
        const int modeOffset = 28;
        Span<byte> status = stackalloc byte[256];
        try
        {
            if (Status(currentFolder, path, 0, onlyTheType, status) != 0)
            {
                return null;
            }
        }
        catch (EntryPointNotFoundException)
        {
            return null;
        }

        return (MemoryMarshal.Read<ushort>(status[modeOffset..]) & 0xF000) switch
        {
            0x1000 => "a pipe",
            0x2000 or 0x6000 => "a device",
            0xC000 => "a socket",
            _ => null,
        };
    }

    /// <summary>Linux's <c>statx</c>, whose structure is the same on all machines.</summary>
    [LibraryImport("libc", EntryPoint = "statx", StringMarshalling = StringMarshalling.Utf8)]
    private static partial int Status(int folder, string path, int flags, uint mask, Span<byte> status);
}
