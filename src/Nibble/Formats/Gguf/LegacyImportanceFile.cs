using System.Runtime.InteropServices;
using System.Text;
using System.Text.Unicode;

namespace Nibble.Formats.Gguf;

/// <summary>Reads the form of importance matrices that llama.cpp used before GGUF (<c>imatrix.dat</c>).</summary>
/// <remarks>
/// Definition: ggml-org/llama.cpp, <c>tools/imatrix/imatrix.cpp</c>, <c>save_imatrix_legacy</c>. All values are 32-bit integers and floats, little-endian.
/// The file starts with the number of entries. Each entry has the length of the name, the name, the number of windows, the number of columns, and the mean
/// squares times the number of windows. Except in very old files, the total number of windows and the name of the text follow, the latter with its length
/// first.
/// </remarks>
internal static class LegacyImportanceFile
{
    // The shortest entry: the length of a one-letter name, the name, and two numbers.
    private const int LeastEntry = (3 * sizeof(int)) + 1;
    private const int LongestName = 1 << 10;

    /// <summary>Reads a file.</summary>
    /// <exception cref="GgufException">The file violates the format.</exception>
    public static ImportanceMatrix Read(string path)
    {
        using var stream = new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.Read);
        var count = stream.Length >= sizeof(int) ? Int32(stream) : 0;
        if (count < 1 || count > stream.Length / LeastEntry)
        {
            throw Fault(0, "this is not an importance matrix: it is not a GGUF file, and it does not start with a number of entries that it can hold");
        }

        var entries = new Dictionary<string, InputSquares>(StringComparer.Ordinal);
        for (var i = 0; i < count; i++)
        {
            var start = stream.Position;
            var name = Text(Length("the name of an entry", 1));
            var windows = Int32(stream);
            var squares = new float[Length($"the entry of {name}", sizeof(float))];
            if (name.Length == 0 || windows < 0 || squares.Length == 0 || !entries.TryAdd(name, new InputSquares(squares, [Math.Max(windows, 1)])))
            {
                throw Fault(start, $"entry {i}, '{name}', has {windows} windows and {squares.Length} columns, expected a unique name and at least one column");
            }

            stream.ReadExactly(MemoryMarshal.AsBytes(squares.AsSpan()));
        }

        // Very old files end here.
        var chunks = Rest() >= sizeof(int) ? Int32(stream) : 0;
        string[] datasets = Rest() >= sizeof(int) ? [Text(Length("the name of the text", 1))] : [];
        return new ImportanceMatrix(entries, datasets, Math.Max(chunks, 0), 0);

        long Rest() => stream.Length - stream.Position;

        int Length(string what, int size)
        {
            var place = stream.Position;
            var length = Int32(stream);
            return length >= 0 && length <= Rest() / size ? length
                : throw Fault(place, $"{what} claims {length} elements, more than the rest of the file holds; copy it again");
        }

        string Text(int length)
        {
            var utf8 = length <= LongestName ? new byte[length] : throw Fault(stream.Position, $"a name of {length} bytes, expected at most {LongestName}");
            stream.ReadExactly(utf8);
            return Utf8.IsValid(utf8) ? Encoding.UTF8.GetString(utf8) : throw Fault(stream.Position - length, "a name is not UTF-8");
        }

        int Int32(FileStream from)
        {
            Span<byte> bytes = stackalloc byte[sizeof(int)];
            return from.ReadAtLeast(bytes, bytes.Length, throwOnEndOfStream: false) == bytes.Length
                ? BitConverter.ToInt32(bytes)
                : throw Fault(from.Position, "the file ends in the middle of a number; copy it again");
        }

        GgufException Fault(long offset, string message) => new(path, offset, message);
    }
}
