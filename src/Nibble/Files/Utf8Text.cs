using System.Buffers;
using System.Globalization;
using System.Text;
using System.Text.Unicode;

namespace Nibble.Files;

/// <summary>Decodes users' text files, which must be UTF-8. Wrongly decoded text would be scored, trained on and calibrated on as if it were
/// correct.</summary>
internal static class Utf8Text
{
    /// <summary>How much of a file is examined to guess another encoding.</summary>
    private const int Sample = 1 << 16;

    private static ReadOnlySpan<byte> ByteOrderMark => [0xEF, 0xBB, 0xBF];

    /// <summary>Decodes the bytes of a file. A UTF-8 byte order mark at their beginning is removed.</summary>
    /// <param name="bytes">The bytes.</param>
    /// <param name="path">The origin of the bytes, for messages.</param>
    /// <exception cref="NibbleException">The bytes are not UTF-8 text.</exception>
    public static string Decode(ReadOnlySpan<byte> bytes, string path)
    {
        Require(bytes, path);
        return Encoding.UTF8.GetString(bytes.StartsWith(ByteOrderMark) ? bytes[ByteOrderMark.Length..] : bytes);
    }

    /// <summary>Rejects bytes that are not UTF-8 text.</summary>
    /// <param name="bytes">The bytes.</param>
    /// <param name="path">The origin of the bytes, for messages.</param>
    /// <exception cref="NibbleException">They are not valid UTF-8, or contain a NUL byte.</exception>
    internal static void Require(ReadOnlySpan<byte> bytes, string path)
    {
        if (OtherEncoding(bytes) is { } encoding)
        {
            throw new NibbleException($"{path}: the text is in {encoding}, expected UTF-8; convert it, for example with iconv -f {encoding} -t UTF-8");
        }

        if (bytes.IndexOf((byte)0) is var nul and >= 0)
        {
            throw new NibbleException($"{path}: a NUL byte at {Place(bytes, nul)}, expected UTF-8 text; the file is binary or in another encoding");
        }

        if (Utf8.IsValid(bytes))
        {
            return;
        }

        var at = FirstFault(bytes);
        throw new NibbleException(EndsInside(bytes[at..])
            ? $"{path}: the text ends in the middle of a UTF-8 character, at {Place(bytes, at)}; the file is truncated: copy it again"
            : $"{path}: byte 0x{bytes[at]:X2} at {Place(bytes, at)} is not UTF-8, expected UTF-8 text; "
                + "if it is Latin-1 or Windows-1252, convert it, for example with iconv -f WINDOWS-1252 -t UTF-8");
    }

    /// <summary>The encoding shown by a byte order mark or by zeros at every second position; null if nothing indicates an encoding other than
    /// UTF-8.</summary>
    private static string? OtherEncoding(ReadOnlySpan<byte> bytes)
    {
        var start = bytes[..Math.Min(bytes.Length, Sample)];
        return start switch
        {
            [0xFF, 0xFE, 0, 0, ..] or [0, 0, 0xFE, 0xFF, ..] => "UTF-32",
            [0xFF, 0xFE, ..] or [0xFE, 0xFF, ..] => "UTF-16",
            _ when IsMostlyZero(start, 1) => "UTF-16LE",
            _ when IsMostlyZero(start, 0) => "UTF-16BE",
            _ => null,
        };
    }

    /// <summary>Whether most bytes at odd or even positions are zero and few others are, as in UTF-16 without a byte order mark.</summary>
    private static bool IsMostlyZero(ReadOnlySpan<byte> bytes, int parity)
    {
        var counts = (Zeros: 0, Others: 0);
        for (var i = 0; i < bytes.Length; i++)
        {
            if (bytes[i] == 0)
            {
                counts = i % 2 == parity ? (counts.Zeros + 1, counts.Others) : (counts.Zeros, counts.Others + 1);
            }
        }

        return bytes.Length >= 4 && counts.Zeros > bytes.Length / 4 && counts.Others < bytes.Length / 32;
    }

    private static int FirstFault(ReadOnlySpan<byte> bytes)
    {
        var at = 0;
        while (at < bytes.Length)
        {
            if (Rune.DecodeFromUtf8(bytes[at..], out _, out var length) != OperationStatus.Done)
            {
                return at;
            }

            at += length;
        }

        return at;
    }

    private static bool EndsInside(ReadOnlySpan<byte> rest) => Rune.DecodeFromUtf8(rest, out _, out _) == OperationStatus.NeedMoreData;

    private static string Place(ReadOnlySpan<byte> bytes, int at) =>
        string.Create(CultureInfo.InvariantCulture, $"offset {at} (line {bytes[..at].Count((byte)'\n') + 1})");
}
