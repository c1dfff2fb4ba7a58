using Nibble.Files;

namespace Nibble.Onnx.Data;

/// <summary>Reads the lines of a UTF-8 file one at a time.</summary>
internal static class LineReader
{
    /// <summary>The longest line: numbers of a large image.</summary>
    private const int MostBytes = 1 << 28;

    private static ReadOnlySpan<byte> ByteOrderMark => [0xEF, 0xBB, 0xBF];

    /// <summary>Reads lines, without their ends and without a byte order mark.</summary>
    /// <param name="stream">The file.</param>
    /// <param name="place">The file, for messages.</param>
    /// <returns>The bytes of each line, which are valid UTF-8, and its place.</returns>
    /// <exception cref="NibbleException">While enumerating: a line is too long or is not UTF-8.</exception>
    public static IEnumerable<(byte[] Bytes, string Place)> Read(Stream stream, string place)
    {
        var (buffer, line, number) = (new byte[1 << 16], new MemoryStream(), 0L);
        for (int count; (count = stream.Read(buffer)) > 0;)
        {
            for (var start = 0; start < count;)
            {
                var length = buffer.AsSpan(start, count - start).IndexOf((byte)'\n');
                var end = length < 0 ? count : start + length;
                if (line.Length + end - start > MostBytes)
                {
                    throw new NibbleException($"{place}, line {number + 1}: more than {MostBytes} bytes");
                }

                line.Write(buffer, start, end - start);
                start = end + 1;
                if (length >= 0)
                {
                    yield return Take();
                }
            }
        }

        if (line.Length > 0)
        {
            yield return Take();
        }

        (byte[] Bytes, string Place) Take()
        {
            var origin = $"{place}, line {++number}";
            var bytes = line.GetBuffer().AsSpan(0, (int)line.Length);
            Utf8Text.Require(bytes, origin);
            bytes = number == 1 && bytes.StartsWith(ByteOrderMark) ? bytes[ByteOrderMark.Length..] : bytes;
            var taken = (bytes is [.. var text, (byte)'\r'] ? text : bytes).ToArray();
            line.SetLength(0);
            return (taken, origin);
        }
    }
}
