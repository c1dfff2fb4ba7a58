using System.Buffers.Binary;
using System.Globalization;
using System.Text;

namespace Nibble.Onnx.Data;

/// <summary>The header of an <c>.npy</c> file.</summary>
/// <remarks>The format: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html, versions 1 to 3.</remarks>
/// <param name="Type">The type of the elements, such as <c>f4</c>. They are little-endian and in row-major order.</param>
/// <param name="Shape">The sizes, none of them negative.</param>
internal sealed record NpyHeader(string Type, IReadOnlyList<long> Shape)
{
    // The header of an array of numbers has about a hundred bytes.
    private const int MostBytes = 1 << 16;
    private const int MostAxes = 32;

    private static readonly string[] Types = ["f4", "f8", "f2", "i1", "i2", "i4", "i8", "u1", "b1"];

    /// <summary>The bytes per element.</summary>
    public int ElementBytes => Type[1] - '0';

    /// <summary>The bytes of all elements.</summary>
    public Int128 Bytes => Shape.Aggregate((Int128)ElementBytes, (product, size) => product * size);

    private static ReadOnlySpan<byte> Magic => [0x93, (byte)'N', (byte)'U', (byte)'M', (byte)'P', (byte)'Y'];

    /// <summary>Reads the header, and leaves the stream at the first element.</summary>
    /// <param name="stream">The file.</param>
    /// <param name="length">The length of the file in bytes, which must be that of header and elements.</param>
    /// <param name="place">The file, for messages.</param>
    /// <exception cref="NibbleException">The file is no .npy file, is truncated, or has elements that are not supported.</exception>
    public static NpyHeader Read(Stream stream, long length, string place)
    {
        Span<byte> start = stackalloc byte[8];
        ReadExactly(stream, start, place);
        if (!start.StartsWith(Magic))
        {
            throw new NibbleException($"{place} does not begin like an .npy file; write it with numpy.save or numpy.savez");
        }

        if (start[6] is < 1 or > 3)
        {
            throw new NibbleException($"{place}: version {start[6]} of the .npy format, expected 1 to 3");
        }

        Span<byte> size = stackalloc byte[start[6] == 1 ? 2 : 4];
        ReadExactly(stream, size, place);
        var headerLength = size.Length == 2 ? BinaryPrimitives.ReadUInt16LittleEndian(size) : BinaryPrimitives.ReadUInt32LittleEndian(size);
        if (headerLength > MostBytes)
        {
            throw new NibbleException($"{place}: the header has {headerLength} bytes, expected at most {MostBytes}");
        }

        var bytes = new byte[headerLength];
        ReadExactly(stream, bytes, place);
        var header = Parse(Encoding.Latin1.GetString(bytes), place);
        var expected = header.Bytes + start.Length + size.Length + bytes.Length;
        return length == expected ? header
            : throw new NibbleException($"{place}: {length} bytes, expected {expected} for {header.Type} {header.ShapeText}; the file is damaged: "
                + "copy it again");
    }

    /// <summary>Fills a buffer.</summary>
    /// <exception cref="NibbleException">The file ends before.</exception>
    public static void ReadExactly(Stream stream, Span<byte> buffer, string place)
    {
        if (stream.ReadAtLeast(buffer, buffer.Length, throwOnEndOfStream: false) < buffer.Length)
        {
            throw new NibbleException($"{place} ends too early; the file is damaged: copy it again");
        }
    }

    /// <summary>The sizes, for messages.</summary>
    public string ShapeText => $"[{string.Join(", ", Shape)}]";

    /// <summary>The numbers of some elements.</summary>
    /// <param name="bytes">The elements.</param>
    public ReadNumbers Convert(ReadOnlySpan<byte> bytes)
    {
        var (size, count) = (ElementBytes, bytes.Length / ElementBytes);
        if (Type[0] == 'f')
        {
            var floats = new double[count];
            for (var i = 0; i < count; i++)
            {
                var element = bytes.Slice(i * size, size);
                floats[i] = size == 2 ? (double)BinaryPrimitives.ReadHalfLittleEndian(element)
                    : size == 4 ? BinaryPrimitives.ReadSingleLittleEndian(element)
                    : BinaryPrimitives.ReadDoubleLittleEndian(element);
            }

            return new ReadNumbers(floats);
        }

        var integers = new long[count];
        for (var i = 0; i < count; i++)
        {
            var element = bytes.Slice(i * size, size);
            integers[i] = Type switch
            {
                "i1" => (sbyte)element[0],
                "i2" => BinaryPrimitives.ReadInt16LittleEndian(element),
                "i4" => BinaryPrimitives.ReadInt32LittleEndian(element),
                "i8" => BinaryPrimitives.ReadInt64LittleEndian(element),
                _ => element[0],
            };
        }

        return new ReadNumbers(integers);
    }

    /// <summary>Parses a Python dictionary such as <c>{'descr': '&lt;f4', 'fortran_order': False, 'shape': (3, 4), }</c>.</summary>
    private static NpyHeader Parse(string text, string place)
    {
        var (type, isFortran, shape) = ((string?)null, (bool?)null, (List<long>?)null);
        var at = 0;
        Expect('{');
        while (!Accept('}'))
        {
            var key = Text();
            Expect(':');
            if (key == "descr" && type is null)
            {
                type = Accept('[') ? throw new NibbleException($"{place}: an array of records, expected numbers; save one array per input in an .npz file")
                    : Text();
            }
            else if (key == "fortran_order" && isFortran is null)
            {
                isFortran = Word("True") || (Word("False") ? false : throw Fault());
            }
            else if (key == "shape" && shape is null)
            {
                shape = Sizes();
            }
            else
            {
                throw Fault();
            }

            if (!Accept(','))
            {
                Expect('}');
                break;
            }
        }

        Blank();
        if (at != text.Length || type is null || isFortran is null || shape is null)
        {
            throw Fault();
        }

        var name = type is ['<' or '|', .. var rest] ? rest : null;
        if (name is null || !Types.Contains(name) || (type[0] == '|') != (name[1] == '1'))
        {
            throw new NibbleException($"{place}: elements of type '{type}', expected little-endian {string.Join(", ", Types)}; convert them, for example with "
                + "numpy.float32(array)");
        }

        return isFortran.Value && shape.Count > 1
            ? throw new NibbleException($"{place}: the array is in Fortran order, expected C order; save numpy.ascontiguousarray(array)")
            : new NpyHeader(name, shape);

        void Blank()
        {
            while (at < text.Length && text[at] is ' ' or '\n')
            {
                at++;
            }
        }

        bool Accept(char expected)
        {
            Blank();
            var isThere = at < text.Length && text[at] == expected;
            at += isThere ? 1 : 0;
            return isThere;
        }

        bool Word(string expected)
        {
            Blank();
            var isThere = string.CompareOrdinal(text, at, expected, 0, expected.Length) == 0;
            at += isThere ? expected.Length : 0;
            return isThere;
        }

        void Expect(char expected)
        {
            if (!Accept(expected))
            {
                throw Fault();
            }
        }

        string Text()
        {
            var quote = Accept('\'') ? '\'' : Accept('"') ? '"' : throw Fault();
            var end = text.IndexOf(quote, at);
            if (end < 0)
            {
                throw Fault();
            }

            var found = text[at..end];
            at = end + 1;
            return found;
        }

        List<long> Sizes()
        {
            Expect('(');
            var sizes = new List<long>();
            while (!Accept(')'))
            {
                Blank();
                var first = at;
                while (at < text.Length && char.IsAsciiDigit(text[at]))
                {
                    at++;
                }

                if (sizes.Count == MostAxes || !long.TryParse(text.AsSpan(first, at - first), NumberStyles.None, CultureInfo.InvariantCulture, out var size)
                    || size > uint.MaxValue * 256L)
                {
                    throw Fault();
                }

                // Even all sizes together do not overflow what is computed with them.
                sizes.Add(size);
                if (sizes.Aggregate((Int128)1, (product, factor) => product * Math.Max(1, factor)) > long.MaxValue)
                {
                    throw Fault();
                }

                if (!Accept(','))
                {
                    Expect(')');
                    break;
                }
            }

            return sizes;
        }

        NibbleException Fault() => new($"{place}: the header '{(text.Length > 200 ? text[..200] : text).Trim()}' is not that of an .npy file; write it with "
            + "numpy.save or numpy.savez");
    }
}
