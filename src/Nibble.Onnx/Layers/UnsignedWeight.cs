using System.Numerics;
using System.Runtime.InteropServices;
using Nibble.Numerics;

namespace Nibble.Onnx.Layers;

/// <summary>The codes of a weight as the unsigned numbers of 2, 4 or 8 bits that ONNX operators take: <c>real = scale * (code - zeroPoint)</c>.</summary>
/// <remarks>
/// A code is stored as itself plus <c>2^(bits-1)</c>, in the narrowest of the three widths that holds it, and so is its zero point. A
/// stretched weight's values, <c>scale * (code + 1/2)</c>, are <c>scale / 2 * (2 code + 1)</c>: the same grid with half the step.
/// </remarks>
internal sealed class UnsignedWeight
{
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

    /// <summary>The codes of a weight; null where they need more than 8 bits.</summary>
    public static UnsignedWeight? Of(QuantizedTensor weight)
    {
        var factor = weight.Scheme.Stretched ? 2 : 1;
        return (weight.Scheme.Bits + factor - 1) switch
        {
            <= 2 => new UnsignedWeight(weight, 2, factor),
            <= 4 => new UnsignedWeight(weight, 4, factor),
            <= 8 => new UnsignedWeight(weight, 8, factor),
            _ => null,
        };
    }

    /// <summary>Codes as bytes, transposed to [in, out], for operators that read no narrower ones.</summary>
    public byte[] BytesTransposed() => Matrices.Transpose<byte>(Bytes(), Outputs, Inputs);

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

    /// <summary>Codes as <c>MatMulNBits</c> takes them: [out, blocks, block bytes], the first code in the lowest bits; the last block of a row is filled up with zero points.</summary>
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

    /// <summary>Blocks in a row.</summary>
    public int Blocks(int block) => (Inputs + block - 1) / block;

    private int Half => 1 << (Bits - 1);

    private int Raw(int row, int column) => (weight.Codes[(row * Inputs) + (Columns?[column] ?? column)] * factor) + factor - 1;

    private float Scale(int row, int group) => weight.Parameters(row, group).Scale / factor;

    private int ZeroPoint(int row, int index, int block) => weight.Parameters(row, index * block / GroupLength).ZeroPoint + Half;
}
