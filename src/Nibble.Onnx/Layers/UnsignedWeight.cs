using Nibble.Formats.CompressedTensors;
using System.Numerics;
using System.Runtime.InteropServices;
using Nibble.Numerics;
using Nibble.Onnx.Graphs;

namespace Nibble.Onnx.Layers;

/// <summary>The codes of a weight as unsigned integers of 2, 4 or 8 bits, as ONNX operators read them: <c>real = scale * (code - zeroPoint)</c>.</summary>
/// <remarks>
/// A code is stored plus <c>2^(bits-1)</c>, in the narrowest of the three widths that holds it, and so is its zero point. The values of a stretched weight,
/// <c>scale * (code + 1/2)</c>, are <c>scale / 2 * (2 code + 1)</c>: the same grid with half the step. Each write method is followed by its inverse, which
/// fills the weight that <see cref="Blank"/> created. Inverses do not validate what they read. Invalid values are detected by writing the weight again.
/// </remarks>
internal sealed class UnsignedWeight
{
    /// <summary>The suffix of the names of constants that hold codes.</summary>
    public const string CodesName = "codes";

    /// <summary>The suffix of the names of constants that hold scales.</summary>
    public const string ScalesName = "scales";

    /// <summary>The suffix of the names of constants that hold zero points.</summary>
    public const string ZeroPointsName = "zero_points";

    private const int SmallestBlock = 16;
    private const int LargestBlock = 256;
    private const int ChannelBlock = 128;

    private readonly QuantizedTensor weight;
    private readonly int factor;

    private UnsignedWeight(QuantizedTensor weight, int bits, int factor)
    {
        this.weight = weight;
        this.factor = factor;
        Bits = bits;
        Columns = weight.GroupIndex is { } groups ? [.. Enumerable.Range(0, weight.Columns).OrderBy(column => groups[column])] : null;
    }

    /// <summary>The bit width of a stored code: 2, 4 or 8.</summary>
    public int Bits { get; }

    /// <summary>The number of rows of the weight.</summary>
    public int Outputs => weight.Rows;

    /// <summary>The number of columns of the weight.</summary>
    public int Inputs => weight.Columns;

    /// <summary>The order of columns in which groups consist of adjacent columns. Null if they already do.</summary>
    public int[]? Columns { get; }

    /// <summary>Whether each row, or the whole weight, has a single scale.</summary>
    public bool HasWholeRows => weight.GroupsPerRow == 1;

    /// <summary>The number of values of a row that share a scale.</summary>
    public int GroupLength => weight.GroupLength;

    /// <summary>Whether zero points are all <c>2^(bits-1)</c>.</summary>
    public bool Symmetric => weight.Scheme.Symmetric;

    /// <summary>
    /// The number of values in a <c>MatMulNBits</c> block, a power of two from 16 to 256 such that no block spans two groups. Null if there is none.
    /// </summary>
    public int? Block
    {
        get
        {
            var block = HasWholeRows
                ? Math.Clamp((int)BitOperations.RoundUpToPowerOf2((uint)Inputs), SmallestBlock, ChannelBlock)
                : Math.Min(GroupLength & -GroupLength, LargestBlock);
            return block >= SmallestBlock ? block : null;
        }
    }

    /// <summary>The name of the constant that holds <see cref="Columns"/>.</summary>
    public static string ColumnsName(string layer) => layer + ".columns";

    /// <summary>The codes of a weight. Null if they need more than 8 bits.</summary>
    public static UnsignedWeight? Of(QuantizedTensor weight)
    {
        var factor = weight.Scheme.Format == CodeFormat.Stretched ? 2 : 1;
        return (weight.Scheme.Bits + factor - 1) switch
        {
            <= 2 => new UnsignedWeight(weight, 2, factor),
            <= 4 => new UnsignedWeight(weight, 4, factor),
            <= 8 => new UnsignedWeight(weight, 8, factor),
            _ => null,
        };
    }

    /// <summary>Creates a weight to read codes, scales and zero points into.</summary>
    /// <param name="file">The file.</param>
    /// <param name="layer">The layer's entry in the metadata.</param>
    /// <param name="rows">The number of rows of the weight.</param>
    /// <param name="columns">The number of columns of the weight.</param>
    /// <exception cref="NibbleException">
    /// The file has no codes for the layer, or too few for this shape, or the metadata contradict themselves.
    /// </exception>
    public static UnsignedWeight Blank(OnnxFile file, ManifestLayer layer, int rows, int columns)
    {
        var scheme = layer.Scheme.Weights!;
        var (codes, values) = ($"{layer.Name}.weight.{CodesName}", (long)rows * columns);

        // Sizes come from metadata. Nothing is allocated for them until the file is known to hold that much.
        var bytes = file.HeldBytes(codes) ?? throw file.Refused($"there is no tensor '{codes}', but the metadata list the layer '{layer.Name}'");
        if (values < 1 || values > bytes * 4 || values > Array.MaxLength)
        {
            throw file.Refused($"tensor '{codes}' has {bytes} bytes, too few for the {rows} x {columns} codes in the metadata");
        }

        if (scheme.Granularity is PerToken || (layer.HasGroupIndex && scheme.Granularity is not PerGroup))
        {
            throw file.Refused($"the metadata give the layer '{layer.Name}' weights per "
                + $"{scheme.Granularity}{(layer.HasGroupIndex ? " and groups of scattered columns" : string.Empty)}");
        }

        var groups = QuantizedTensor.GroupCount(rows, columns, scheme.Granularity);
        var weight = new QuantizedTensor(
            rows, columns, scheme, new sbyte[values], new float[groups], new sbyte[scheme.Symmetric ? 0 : groups],
            layer.HasGroupIndex ? ReadGroups(file, layer, columns) : null);
        return Of(weight) ?? throw file.Refused($"the metadata give the layer '{layer.Name}' {scheme}, whose values need codes of 9 bits, which no file holds");
    }

    /// <summary>Codes as bytes, transposed to [in, out], for operators that support no narrower codes.</summary>
    public byte[] BytesTransposed() => Matrices.Transpose<byte>(Bytes(), Outputs, Inputs);

    /// <summary>Reads the result of <see cref="BytesTransposed"/>.</summary>
    public void ReadBytesTransposed(ReadOnlySpan<byte> bytes) => ReadBytes(Matrices.Transpose(bytes, Inputs, Outputs));

    /// <summary>Codes as bytes, [out, in].</summary>
    public byte[] Bytes()
    {
        var codes = new byte[weight.Codes.Length];
        for (var i = 0; i < codes.Length; i++)
        {
            codes[i] = (byte)(Raw(i / Inputs, i % Inputs) + 128);
        }

        return codes;
    }

    /// <summary>Reads the result of <see cref="Bytes"/>.</summary>
    public void ReadBytes(ReadOnlySpan<byte> codes)
    {
        for (var i = 0; i < codes.Length; i++)
        {
            SetRaw(i / Inputs, i % Inputs, codes[i] - 128);
        }
    }

    /// <summary>A scale for each group and row, [groups, out].</summary>
    public byte[] ScalesTransposed()
    {
        var scales = new float[weight.GroupsPerRow * Outputs];
        for (var i = 0; i < scales.Length; i++)
        {
            scales[i] = Scale(i % Outputs, i / Outputs);
        }

        return MemoryMarshal.AsBytes(scales.AsSpan()).ToArray();
    }

    /// <summary>Reads the result of <see cref="ScalesTransposed"/>.</summary>
    public void ReadScalesTransposed(ReadOnlySpan<byte> bytes)
    {
        var scales = MemoryMarshal.Cast<byte, float>(bytes);
        for (var i = 0; i < scales.Length; i++)
        {
            SetScale(i % Outputs, i / Outputs, scales[i]);
        }
    }

    /// <summary>The zero points of <see cref="BytesTransposed"/>, [groups, out].</summary>
    public byte[] ZeroPointsTransposed()
    {
        var zeroPoints = new byte[weight.GroupsPerRow * Outputs];
        for (var i = 0; i < zeroPoints.Length; i++)
        {
            zeroPoints[i] = (byte)(weight.Parameters(i % Outputs, i / Outputs).ZeroPoint + 128);
        }

        return zeroPoints;
    }

    /// <summary>Reads the result of <see cref="ZeroPointsTransposed"/>.</summary>
    public void ReadZeroPointsTransposed(ReadOnlySpan<byte> zeroPoints)
    {
        for (var i = 0; i < zeroPoints.Length; i++)
        {
            SetZeroPoint(i % Outputs, i / Outputs, zeroPoints[i] - 128);
        }
    }

    /// <summary>
    /// Codes in the layout of <c>MatMulNBits</c>: [out, blocks, block bytes], with the first code in the lowest bits. The last block of a row is padded with
    /// zero points.
    /// </summary>
    public byte[] PackBlocks(int block)
    {
        var blocks = Blocks(block);
        var perByte = 8 / Bits;
        var bytes = new byte[(long)Outputs * blocks * block / perByte];
        for (var row = 0; row < Outputs; row++)
        {
            for (var column = 0; column < blocks * block; column++)
            {
                var code = column < Inputs ? Raw(row, column) + Half : ZeroPoint(row, column / block, block);
                var position = ((long)row * blocks * block) + column;
                bytes[position / perByte] |= (byte)(code << (int)(position % perByte * Bits));
            }
        }

        return bytes;
    }

    /// <summary>Reads the result of <see cref="PackBlocks"/>.</summary>
    public void ReadBlocks(int block, ReadOnlySpan<byte> bytes)
    {
        var rowValues = (long)Blocks(block) * block;
        var perByte = 8 / Bits;
        for (var row = 0; row < Outputs; row++)
        {
            for (var column = 0; column < Inputs; column++)
            {
                var position = (row * rowValues) + column;
                SetRaw(row, column, ((bytes[(int)(position / perByte)] >> (int)(position % perByte * Bits)) & ((1 << Bits) - 1)) - Half);
            }
        }
    }

    /// <summary>A scale for each block, [out, blocks].</summary>
    public byte[] BlockScales(int block)
    {
        var blocks = Blocks(block);
        var scales = new float[Outputs * blocks];
        for (var i = 0; i < scales.Length; i++)
        {
            scales[i] = Scale(i / blocks, i % blocks * block / GroupLength);
        }

        return MemoryMarshal.AsBytes(scales.AsSpan()).ToArray();
    }

    /// <summary>Reads the result of <see cref="BlockScales"/>.</summary>
    public void ReadBlockScales(int block, ReadOnlySpan<byte> bytes)
    {
        var blocks = Blocks(block);
        var scales = MemoryMarshal.Cast<byte, float>(bytes);
        for (var i = 0; i < scales.Length; i++)
        {
            SetScale(i / blocks, i % blocks * block / GroupLength, scales[i]);
        }
    }

    /// <summary>A zero point for each block. Each row is packed into whole bytes.</summary>
    public byte[] PackZeroPoints(int block)
    {
        var blocks = Blocks(block);
        var rowBytes = ((blocks * Bits) + 7) / 8;
        var bytes = new byte[Outputs * rowBytes];
        for (var row = 0; row < Outputs; row++)
        {
            for (var i = 0; i < blocks; i++)
            {
                bytes[(row * rowBytes) + (i * Bits / 8)] |= (byte)(ZeroPoint(row, i, block) << (i * Bits % 8));
            }
        }

        return bytes;
    }

    /// <summary>Reads the result of <see cref="PackZeroPoints"/>.</summary>
    public void ReadZeroPoints(int block, ReadOnlySpan<byte> bytes)
    {
        var blocks = Blocks(block);
        var rowBytes = ((blocks * Bits) + 7) / 8;
        for (var row = 0; row < Outputs; row++)
        {
            for (var i = 0; i < blocks; i++)
            {
                SetZeroPoint(row, i * block / GroupLength, ((bytes[(row * rowBytes) + (i * Bits / 8)] >> (i * Bits % 8)) & ((1 << Bits) - 1)) - Half);
            }
        }
    }

    /// <summary>The weight that was read.</summary>
    public QuantizedTensor Weight => weight;

    /// <summary>The number of blocks per row.</summary>
    public int Blocks(int block) => (Inputs + block - 1) / block;

    private int Half => 1 << (Bits - 1);

    private int Raw(int row, int column) => (weight.Codes[(row * Inputs) + (Columns?[column] ?? column)] * factor) + factor - 1;

    private void SetRaw(int row, int column, int raw) => weight.Codes[(row * Inputs) + (Columns?[column] ?? column)] = (sbyte)((raw - factor + 1) / factor);

    private float Scale(int row, int group) => weight.Parameters(row, group).Scale / factor;

    private void SetScale(int row, int group, float scale) => weight.Scales[Index(row, group)] = scale * factor;

    private int ZeroPoint(int row, int index, int block) => weight.Parameters(row, index * block / GroupLength).ZeroPoint + Half;

    private void SetZeroPoint(int row, int group, int zeroPoint)
    {
        if (!Symmetric)
        {
            weight.ZeroPoints[Index(row, group)] = (sbyte)zeroPoint;
        }
    }

    private int Index(int row, int group) => weight.Scheme.Granularity is PerTensor ? 0 : (row * weight.GroupsPerRow) + group;

    /// <summary>The group of each column, from the order that makes groups adjacent.</summary>
    private static int[] ReadGroups(OnnxFile file, ManifestLayer layer, int columns)
    {
        var order = file.Values<long>(ColumnsName(layer.Name), OnnxType.Int64, columns);
        if (!order.Order().SequenceEqual(Enumerable.Range(0, columns).Select(column => (long)column)))
        {
            throw file.Refused($"tensor '{ColumnsName(layer.Name)}' is not a permutation of the {columns} columns");
        }

        var groups = new int[columns];
        for (var i = 0; i < columns; i++)
        {
            groups[order[i]] = i / ((PerGroup)layer.Scheme.Weights!.Granularity).Size;
        }

        return groups;
    }
}
