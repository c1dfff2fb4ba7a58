using System.Runtime.InteropServices;
using Nibble.Numerics;

namespace Nibble.Formats.CompressedTensors;

/// <summary>Matrices of codes as little-endian 32-bit words. Each row or column is a separate dense bit stream that starts at a word boundary.</summary>
/// <remarks>Layout: vllm-project/compressed-tensors, <c>compressors/pack_quantized/helpers.py</c>, <c>pack_to_int32</c> (since May 2026 also for 3, 5, 6
/// and 7 bits).</remarks>
internal static class PackedWords
{
    /// <summary>The number of words that a stream of codes takes.</summary>
    public static int Count(int codes, int bits) => (BitPacking.PackedLength(codes, bits) + sizeof(int) - 1) / sizeof(int);

    /// <summary>Packs along the rows: [rows, <see cref="Count"/> of a row].</summary>
    public static byte[] PackRows(ReadOnlySpan<sbyte> codes, int rows, int columns, int bits)
    {
        var stride = Count(columns, bits) * sizeof(int);
        var used = BitPacking.PackedLength(columns, bits);
        var words = new byte[checked(rows * stride)];
        for (var row = 0; row < rows; row++)
        {
            BitPacking.Pack(codes.Slice(row * columns, columns), bits, words.AsSpan(row * stride, used));
        }

        return words;
    }

    /// <summary>Unpacks the output of <see cref="PackRows"/>.</summary>
    public static sbyte[] UnpackRows(ReadOnlySpan<byte> words, int rows, int columns, int bits)
    {
        var stride = Count(columns, bits) * sizeof(int);
        var used = BitPacking.PackedLength(columns, bits);
        var codes = new sbyte[checked(rows * columns)];
        for (var row = 0; row < rows; row++)
        {
            BitPacking.Unpack(words.Slice(row * stride, used), bits, codes.AsSpan(row * columns, columns));
        }

        return codes;
    }

    /// <summary>The number of words if each word holds only whole codes, as in files from before May 2026.</summary>
    public static int LooseCount(int codes, int bits) => (codes + (32 / bits) - 1) / (32 / bits);

    /// <summary>Whether the bits that do not fit a whole code are empty in every word.</summary>
    public static bool IsLoose(ReadOnlySpan<byte> words, int bits)
    {
        var used = 32 / bits * bits;
        foreach (var word in MemoryMarshal.Cast<byte, uint>(words))
        {
            if (used < 32 && word >> used != 0)
            {
                return false;
            }
        }

        return true;
    }

    /// <summary>Unpacks rows whose words hold only whole codes, starting at the lowest bits.</summary>
    public static sbyte[] UnpackLooseRows(ReadOnlySpan<byte> words, int rows, int columns, int bits)
    {
        var (perWord, stride, middle) = (32 / bits, LooseCount(columns, bits), 1 << (bits - 1));
        var source = MemoryMarshal.Cast<byte, uint>(words);
        var codes = new sbyte[checked(rows * columns)];
        for (var row = 0; row < rows; row++)
        {
            for (var column = 0; column < columns; column++)
            {
                var word = source[(row * stride) + (column / perWord)];
                codes[(row * columns) + column] = (sbyte)((int)((word >> (column % perWord * bits)) & ((1u << bits) - 1)) - middle);
            }
        }

        return codes;
    }

    /// <summary>Packs along the columns: [<see cref="Count"/> of a column, columns].</summary>
    public static byte[] PackColumns(ReadOnlySpan<sbyte> codes, int rows, int columns, int bits)
    {
        var words = PackRows(Transpose(codes, rows, columns), columns, rows, bits);
        return MemoryMarshal.AsBytes(Transpose(MemoryMarshal.Cast<byte, int>(words), columns, Count(rows, bits)).AsSpan()).ToArray();
    }

    /// <summary>Unpacks the output of <see cref="PackColumns"/>.</summary>
    public static sbyte[] UnpackColumns(ReadOnlySpan<byte> words, int rows, int columns, int bits)
    {
        var streams = Transpose(MemoryMarshal.Cast<byte, int>(words), Count(rows, bits), columns);
        return Transpose<sbyte>(UnpackRows(MemoryMarshal.AsBytes(streams.AsSpan()), columns, rows, bits), columns, rows);
    }

    /// <summary>Transposes a row-major matrix.</summary>
    public static T[] Transpose<T>(ReadOnlySpan<T> matrix, int rows, int columns)
    {
        var transposed = new T[matrix.Length];
        for (var row = 0; row < rows; row++)
        {
            for (var column = 0; column < columns; column++)
            {
                transposed[(column * rows) + row] = matrix[(row * columns) + column];
            }
        }

        return transposed;
    }
}
