using System.Runtime.InteropServices;
using Nibble.Formats.CompressedTensors;

namespace Nibble.Tests.Formats.CompressedTensors;

public class PackedWordsTests
{
    private static readonly Gen<(int Rows, int Columns, int Bits, sbyte[] Codes)> Matrix =
        from rows in Gen.Int[1, 70]
        from columns in Gen.Int[1, 70]
        from bits in Gen.Int[2, 8]
        from codes in Gen.Int[-(1 << (bits - 1)), (1 << (bits - 1)) - 1].Select(code => (sbyte)code).Array[rows * columns]
        select (rows, columns, bits, codes);

    [Fact]
    public void PackRowsGivesTheWordsOfCompressedTensors()
    {
        // Eight 4-bit codes fill a word: -8 is 0, 7 is 15, the first in the lowest bits; the ninth starts the next word.
        Assert.Equal([0x6543_210F, 0x0000_000E], Words(PackedWords.PackRows([7, -8, -7, -6, -5, -4, -3, -2, 6], 1, 9, 4)));

        // 3-bit codes run across the border of a word: eleven codes are 33 bits, all ones.
        Assert.Equal([-1, 1], Words(PackedWords.PackRows([3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3], 1, 11, 3)));

        // Each row starts at a word.
        Assert.Equal([3, 0], Words(PackedWords.PackRows([1, -2], 2, 1, 2)));
    }

    [Fact]
    public void PackColumnsPacksAlongTheRows() =>
        Assert.Equal([0xF0, 0x1E], Words(PackedWords.PackColumns([-8, 6, 7, -7], 2, 2, 4)));

    [Fact]
    public void UnpackIsTheInverse() => Matrix.Sample(matrix =>
    {
        var (rows, columns, bits, codes) = matrix;
        var packed = PackedWords.PackRows(codes, rows, columns, bits);
        Assert.Equal(rows * PackedWords.Count(columns, bits) * 4, packed.Length);
        Assert.Equal(codes, PackedWords.UnpackRows(packed, rows, columns, bits));

        var standing = PackedWords.PackColumns(codes, rows, columns, bits);
        Assert.Equal(columns * PackedWords.Count(rows, bits) * 4, standing.Length);
        Assert.Equal(codes, PackedWords.UnpackColumns(standing, rows, columns, bits));
    });

    private static int[] Words(byte[] bytes) => MemoryMarshal.Cast<byte, int>(bytes).ToArray();
}
