using System.IO.Hashing;

namespace Nibble.Files;

/// <summary>A file that ends with a checksum of all bytes before it, so that damage is detected before the contents are used.</summary>
/// <remarks>The checksum is XxHash128, whose cost is negligible compared with the disk. It does not protect against tampering.</remarks>
internal static class ChecksummedFile
{
    /// <summary>Bytes of the checksum.</summary>
    public const int ChecksumLength = 16;

    private const int BufferLength = 1 << 20;

    /// <summary>Writes a file atomically, and replaces an existing one.</summary>
    /// <param name="path">The file.</param>
    /// <param name="write">Writes the contents. The checksum follows.</param>
    public static void Write(string path, Action<Stream> write)
    {
        ArgumentNullException.ThrowIfNull(write);
        AtomicFile.Write(path, stream =>
        {
            using var hashing = new HashingStream(stream);
            write(hashing);
            hashing.WriteChecksum();
        });
    }

    /// <summary>Reads a file's contents.</summary>
    /// <param name="path">The file.</param>
    /// <param name="remedy">What to do if it is damaged, for the message.</param>
    /// <exception cref="DamagedFileException">The contents do not match the checksum.</exception>
    public static byte[] Read(string path, string remedy)
    {
        var bytes = File.ReadAllBytes(path);
        var length = bytes.Length - ChecksumLength;
        return length >= 0 && XxHash128.Hash(bytes.AsSpan(0, length)).AsSpan().SequenceEqual(bytes.AsSpan(length))
            ? bytes[..length]
            : throw Damaged(path, remedy);
    }

    /// <summary>Rejects a file whose contents do not match its checksum.</summary>
    /// <param name="path">The file.</param>
    /// <param name="remedy">What to do, for the message.</param>
    /// <exception cref="DamagedFileException">They do not match.</exception>
    public static void Require(string path, string remedy)
    {
        using var stream = new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.Read, bufferSize: 1);
        var hash = new XxHash128();
        var buffer = new byte[(int)Math.Min(BufferLength, Math.Max(stream.Length, ChecksumLength))];
        for (var left = stream.Length - ChecksumLength; left > 0;)
        {
            var read = stream.Read(buffer, 0, (int)Math.Min(buffer.Length, left));
            hash.Append(buffer.AsSpan(0, read));
            left = read == 0 ? 0 : left - read;
        }

        var found = buffer.AsSpan(0, ChecksumLength);
        if (stream.ReadAtLeast(found, ChecksumLength, throwOnEndOfStream: false) < ChecksumLength || !hash.GetCurrentHash().AsSpan().SequenceEqual(found))
        {
            throw Damaged(path, remedy);
        }
    }

    private static DamagedFileException Damaged(string path, string remedy) => new(path, "its checksum does not match its contents", remedy);
}
