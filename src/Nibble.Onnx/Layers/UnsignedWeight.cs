using Nibble.Formats.CompressedTensors;
using System.Numerics;
using System.Runtime.InteropServices;
using Nibble.Numerics;
using Nibble.Onnx.Graphs;

namespace Nibble.Onnx.Layers;

/// <summary>The codes of a weight as the unsigned numbers of 2, 4 or 8 bits that ONNX operators take: <c>real = scale * (code - zeroPoint)</c>.</summary>
/// <remarks>
/// A code is stored as itself plus <c>2^(bits-1)</c>, in the narrowest of the three widths that holds it, and so is its zero point. A
/// stretched weight's values, <c>scale * (code + 1/2)</c>, are <c>scale / 2 * (2 code + 1)</c>: the same grid with half the step.
/// Each way of writing has its inverse behind it, which fills the weight that <see cref="Blank"/> made. Inverses believe what they read:
/// numbers that no weight gives are found by writing them again.
/// </remarks>
internal sealed class UnsignedWeight
{
    /// <summary>The end of the name of a constant that holds codes.</summary>
    public const string CodesName = "codes";

    /// <summary>The end of the name of a constant that holds scales.</summary>
    public const string ScalesName = "scales";

    /// <summary>The end of the name of a constant that holds zero points.</summary>
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

    /// <summary>Bits of a stored code: 2, 4 or 8.</summary>
    public int Bits { get; }

    /// <summary>Rows of the weight.</summary>
    public int Outputs => weight.Rows;

    /// <summary>Columns of the weight.</summary>
    public int Inputs => weight.Columns;

    /// <summary>The order in which columns have to come for groups to be of neighbours; null where they are already.</summary>
    public int[]? Columns { get; }

    /// <summary>Whether a row, or all, share one scale.</summary>
    public bool HasWholeRows => weight.GroupsPerRow == 1;

    /// <summary>Values of a row that share a scale.</summary>
    public int GroupLength => weight.GroupLength;

    /// <summary>Whether zero points are all <c>2^(bits-1)</c>.</summary>
    public bool Symmetric => weight.Scheme.Symmetric;

    /// <summary>Values of a <c>MatMulNBits</c> block, a power of two from 16 to 256 such that no block spans two groups; null where there is none.</summary>
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

    /// <summary>The codes of a weight; null where they need more than 8 bits.</summary>
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

    /// <summary>A weight to read codes, scales and zero points into.</summary>
    /// <param name="file">The file that is read.</param>
    /// <param name="layer">What its metadata say of the layer.</param>
    /// <param name="rows">Rows of the weight.</param>
    /// <param name="columns">Columns of the weight.</param>
    /// <exception cref="NibbleException">The file holds no codes of the layer, or too few for this shape, or the metadata contradict themselves.</exception>
    public static UnsignedWeight Blank(OnnxFile file, ManifestLayer layer, int rows, int columns)
    {
        var scheme = layer.Scheme.Weights!;
        var (codes, values) = ($"{layer.Name}.weight.{CodesName}", (long)rows * columns);

        // Sizes come from metadata: nothing is made of them before the file is known to hold as much.
        var bytes = file.HeldBytes(codes) ?? throw file.Refused($"there is no tensor '{codes}', which the layer '{layer.Name}' of the metadata has");
        if (values < 1 || values > bytes * 4 || values > Array.MaxLength)
        {
            throw file.Refused($"tensor '{codes}' has {bytes} bytes, too few for the {rows} x {columns} codes that the metadata say");
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

    /// <summary>Codes as bytes, transposed to [in, out], for operators that read no narrower ones.</summary>
    public byte[] BytesTransposed() => Matrices.Transpose<byte>(Bytes(), Outputs, Inputs);

    /// <summary>Reads what <see cref="BytesTransposed"/> gave.</summary>
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

    /// <summary>Reads what <see cref="Bytes"/> gave.</summary>
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

    /// <summary>Reads what <see cref="ScalesTransposed"/> gave.</summary>
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

    /// <summary>Reads what <see cref="ZeroPointsTransposed"/> gave.</summary>
    public void ReadZeroPointsTransposed(ReadOnlySpan<byte> zeroPoints)
    {
        for (var i = 0; i < zeroPoints.Length; i++)
        {
            SetZeroPoint(i % Outputs, i / Outputs, zeroPoints[i] - 128);
        }
    }

    /// <summary>Codes as <c>MatMulNBits</c> takes them: [out, blocks, block bytes], the first code in the lowest bits; the last block of a row is filled up
    /// with zero points.</summary>
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

    /// <summary>Reads what <see cref="PackBlocks"/> gave.</summary>
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

    /// <summary>Reads what <see cref="BlockScales"/> gave.</summary>
    public void ReadBlockScales(int block, ReadOnlySpan<byte> bytes)
    {
        var blocks = Blocks(block);
        var scales = MemoryMarshal.Cast<byte, float>(bytes);
        for (var i = 0; i < scales.Length; i++)
        {
            SetScale(i / blocks, i % blocks * block / GroupLength, scales[i]);
        }
    }

    /// <summary>A zero point for each block, each row packed into whole bytes.</summary>
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

    /// <summary>Reads what <see cref="PackZeroPoints"/> gave.</summary>
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

    /// <summary>Blocks in a row.</summary>
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

    /// <summary>The group of each column, from the order that puts groups side by side.</summary>
    private static int[] ReadGroups(OnnxFile file, ManifestLayer layer, int columns)
    {
        var order = file.Values<long>(ColumnsName(layer.Name), OnnxType.Int64, columns);
        if (!order.Order().SequenceEqual(Enumerable.Range(0, columns).Select(column => (long)column)))
        {
            throw file.Refused($"tensor '{ColumnsName(layer.Name)}' is no order of the {columns} columns");
        }

        var groups = new int[columns];
        for (var i = 0; i < columns; i++)
        {
            groups[order[i]] = i / ((PerGroup)layer.Scheme.Weights!.Granularity).Size;
        }

        return groups;
    }
}
