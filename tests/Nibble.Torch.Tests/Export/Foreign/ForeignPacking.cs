using Nibble.Files;
using Nibble.Formats.Safetensors;

namespace Nibble.Torch.Tests.Export.Foreign;

/// <summary>Packs layers as the tools do, written after their sources and apart from the code that reads them.</summary>
internal static class ForeignPacking
{
    private static readonly int[] AwqOrder = [0, 2, 4, 6, 1, 3, 5, 7];

    /// <summary>AutoGPTQ's <c>QuantLinear.pack</c>: codes and zeros in one stream of bits, down the inputs and along the outputs.</summary>
    /// <param name="layer">The layer.</param>
    /// <param name="less">What is taken off zeros: 1 in version 1.</param>
    /// <param name="borrow">Whether it is taken off whole words, as GPTQModel does, instead of each zero.</param>
    public static IEnumerable<SafetensorsTensor> Gptq(ForeignLayer layer, int less = 1, bool borrow = false)
    {
        var (bits, rows, columns, groups) = (layer.Bits, layer.Rows, layer.Columns, layer.Groups);
        var codes = new uint[((columns * bits) + 31) / 32 * rows];
        for (var row = 0; row < rows; row++)
        {
            for (var column = 0; column < columns; column++)
            {
                Put(column * bits, bits, layer.Codes[(row * columns) + column], (word, value) => codes[(word * rows) + row] |= value);
            }
        }

        var width = ((rows * bits) + 31) / 32;
        var zeros = new uint[groups * width];
        for (var group = 0; group < groups; group++)
        {
            for (var row = 0; row < rows; row++)
            {
                var zero = layer.Zeros[(row * groups) + group] - (borrow ? 0 : less);
                Put(row * bits, bits, zero & ((1 << bits) - 1), (word, value) => zeros[(group * width) + word] |= value);
            }
        }

        if (borrow)
        {
            var ones = 0u;
            for (var shift = 0; shift < 32; shift += bits)
            {
                ones |= 1u << shift;
            }

            zeros = Array.ConvertAll(zeros, word => unchecked(word - ones));
        }

        yield return Words(layer.Name + ".qweight", codes, codes.Length / rows, rows);
        yield return Words(layer.Name + ".qzeros", zeros, groups, width);
        yield return SafetensorsTensor.FromFloats(layer.Name + ".scales", ElementType.F16, [groups, rows], Turned(layer.Scales, rows, groups));
        yield return Words(layer.Name + ".g_idx", [.. layer.GroupOf.Select(group => (uint)group)], columns);
    }

    /// <summary>AutoAWQ's <c>WQLinear_GEMM.from_linear</c>.</summary>
    public static IEnumerable<SafetensorsTensor> AwqGemm(ForeignLayer layer)
    {
        var (rows, columns, groups) = (layer.Rows, layer.Columns, layer.Groups);
        yield return Words(layer.Name + ".qweight", Outputs(columns, (row, column) => layer.Codes[(row * columns) + column]), columns, rows / 8);
        yield return Words(layer.Name + ".qzeros", Outputs(groups, (row, group) => layer.Zeros[(row * groups) + group]), groups, rows / 8);
        yield return SafetensorsTensor.FromFloats(layer.Name + ".scales", ElementType.F16, [groups, rows], Turned(layer.Scales, rows, groups));

        uint[] Outputs(int height, Func<int, int, int> code)
        {
            var words = new uint[height * rows / 8];
            for (var line = 0; line < height; line++)
            {
                for (var row = 0; row < rows; row++)
                {
                    words[(line * rows / 8) + (row / 8)] |= (uint)code((row / 8 * 8) + AwqOrder[row % 8], line) << (4 * (row % 8));
                }
            }

            return words;
        }
    }

    /// <summary>AutoAWQ's <c>WQLinear_GEMV.from_linear</c>.</summary>
    public static IEnumerable<SafetensorsTensor> AwqGemv(ForeignLayer layer, int width)
    {
        var (rows, columns, groups) = (layer.Rows, layer.Columns, layer.Groups);
        var scales = new float[rows * width * 8];
        for (var i = 0; i < rows * groups; i++)
        {
            scales[(i / groups * width * 8) + (i % groups)] = layer.Scales[i];
        }

        yield return Words(layer.Name + ".qweight", Inputs(columns, columns / 8, layer.Codes), rows, columns / 8);
        yield return Words(layer.Name + ".qzeros", Inputs(groups, width, layer.Zeros), rows, width);
        yield return SafetensorsTensor.FromFloats(layer.Name + ".scales", ElementType.F16, [rows, width * 8], scales);

        uint[] Inputs(int count, int wide, int[] codes)
        {
            var words = new uint[rows * wide];
            for (var i = 0; i < codes.Length; i++)
            {
                words[(i / count * wide) + (i % count / 8)] |= (uint)codes[i] << (4 * (i % count % 8));
            }

            return words;
        }
    }

    /// <summary>compressed-tensors' <c>pack_to_int32</c>: without gaps since May 2026, before with whole codes only in each word.</summary>
    public static uint[] CompressedWords(int[] codes, int rows, int columns, int bits, bool gaps)
    {
        var perWord = 32 / bits;
        var width = gaps ? (columns + perWord - 1) / perWord : ((columns * bits) + 31) / 32;
        var words = new uint[rows * width];
        for (var row = 0; row < rows; row++)
        {
            for (var column = 0; column < columns; column++)
            {
                var start = gaps ? (column / perWord * 32) + (column % perWord * bits) : column * bits;
                Put(start, bits, codes[(row * columns) + column], (word, value) => words[(row * width) + word] |= value);
            }
        }

        return words;
    }

    /// <summary>Words as a tensor of 32-bit integers.</summary>
    public static SafetensorsTensor Words(string name, uint[] words, params long[] shape) =>
        SafetensorsTensor.FromBytes(name, ElementType.I32, shape, words.SelectMany(BitConverter.GetBytes).ToArray());

    /// <summary>Numbers as a tensor of bytes.</summary>
    public static SafetensorsTensor Bytes(string name, IEnumerable<int> numbers, params long[] shape) =>
        SafetensorsTensor.FromBytes(name, ElementType.I8, shape, numbers.Select(number => (byte)(sbyte)number).ToArray());

    /// <summary>A matrix with rows and columns exchanged.</summary>
    public static T[] Turned<T>(T[] matrix, int rows, int columns) =>
        [.. Enumerable.Range(0, matrix.Length).Select(i => matrix[(i % rows * columns) + (i / rows)])];

    private static void Put(int at, int bits, int value, Action<int, uint> add)
    {
        add(at / 32, (uint)value << (at % 32));
        if ((at % 32) + bits > 32)
        {
            add((at / 32) + 1, (uint)value >> (32 - (at % 32)));
        }
    }
}
