using System.Globalization;
using System.Runtime.InteropServices;

namespace Nibble.Files;

/// <summary>Reads files that users name. A path can be anything, such as a pipe without a writer or an endless device.</summary>
internal static partial class InputFile
{
    /// <summary>A string holds a little more. Longer text would fail as if memory had run out.</summary>
    private const int MostBytes = 1_000_000_000;

    private const int BufferLength = 1 << 16;

    /// <summary>Rejects pipes, sockets and devices, which can block forever when opened and may never end.</summary>
    /// <param name="path">The file. A missing file is not an error here.</param>
    /// <exception cref="NibbleException">The path is not a regular file.</exception>
    public static void RequireRegular(string path)
    {
        ArgumentNullException.ThrowIfNull(path);
        if (KindOf(path) is { } kind)
        {
            throw new NibbleException($"{path} is {kind}, expected a regular file; copy its contents into one first");
        }
    }

    /// <summary>Whether a path can be read more than once. Also true if nothing is there.</summary>
    public static bool IsRegular(string path) => KindOf(path) is null;

    /// <summary>The bytes of a regular file. For a link, this is the length of its target, while <see cref="FileInfo.Length"/> is that of the link.</summary>
    /// <param name="path">The file, which must exist.</param>
    public static long Length(string path)
    {
        var file = new FileInfo(path);
        return file.ResolveLinkTarget(returnFinalTarget: true) is FileInfo target ? target.Length : file.Length;
    }

    /// <summary>Reads UTF-8 text, without the byte order mark at its beginning. Pipes are supported.</summary>
    /// <param name="path">The file, pipe or device, which must exist.</param>
    /// <param name="cancellation">Stops waiting for a pipe.</param>
    /// <exception cref="NibbleException">
    /// The file holds bytes that are not UTF-8, or a zero byte (the message gives the byte and its position), or it is too long for a string.
    /// </exception>
    public static string ReadText(string path, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(path);
        if (KindOf(path) is null)
        {
            return ReadToEnd(path, cancellation);
        }

        return Await(() => ReadToEnd(path, cancellation), cancellation);
    }

    /// <summary>Reads UTF-8 text from standard input.</summary>
    /// <param name="cancellation">Stops waiting for its writer.</param>
    /// <exception cref="NibbleException">As for <see cref="ReadText"/>.</exception>
    public static string ReadStandardInput(CancellationToken cancellation) => Await(
        () =>
        {
            using var input = Console.OpenStandardInput();
            return ReadToEnd(input, "standard input", cancellation);
        },
        cancellation);

    /// <summary>Reading a pipe blocks until its writer is done. On another thread, the wait can be cancelled.</summary>
    private static string Await(Func<string> read, CancellationToken cancellation)
    {
        var reading = Task.Run(read, CancellationToken.None);
        Task.WaitAny([reading], cancellation);
        return reading.GetAwaiter().GetResult();
    }

    /// <summary>Reads the lines of a text file, without their line endings.</summary>
    /// <inheritdoc cref="ReadText"/>
    public static IReadOnlyList<string> ReadLines(string path, CancellationToken cancellation = default)
    {
        using var reader = new StringReader(ReadText(path, cancellation));
        var lines = new List<string>();
        while (reader.ReadLine() is { } line)
        {
            lines.Add(line);
        }

        return lines;
    }

    private static string ReadToEnd(string path, CancellationToken cancellation)
    {
        using var stream = new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.ReadWrite, bufferSize: 0);
        return ReadToEnd(stream, path, cancellation);
    }

    private static string ReadToEnd(Stream stream, string path, CancellationToken cancellation)
    {
        using var bytes = new MemoryStream();
        var buffer = new byte[BufferLength];
        for (int count; (count = stream.Read(buffer)) > 0;)
        {
            cancellation.ThrowIfCancellationRequested();
            if (bytes.Length > MostBytes - count)
            {
                throw new NibbleException(string.Create(
                    CultureInfo.InvariantCulture, $"{path} has more than {MostBytes:N0} bytes; use a part of the text"));
            }

            bytes.Write(buffer, 0, count);
            if (buffer.AsSpan(0, count).Contains((byte)0))
            {
                // Not a text file. The rest, which may be endless, is not needed to report this.
                break;
            }
        }

        return Utf8Text.Decode(bytes.GetBuffer().AsSpan(0, (int)bytes.Length), path);
    }

    /// <summary>The kind of file at a path; null for a regular file, a folder, nothing, or if the system does not tell.</summary>
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
