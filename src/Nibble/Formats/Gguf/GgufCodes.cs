using Nibble.Files;
using Nibble.Formats.Gguf.Blocks;
using Nibble.Numerics;

namespace Nibble.Formats.Gguf;

/// <summary>Reads the blocks of a matrix as codes, scales and zero points. Reads what <see cref="ExactBlocks"/> writes, and any other blocks that a scheme
/// can represent.</summary>
/// <remarks>
/// Q4_0 and Q5_0 files of other tools may have negative scales, because the value with the largest magnitude always gets the lowest code. With the sign
/// flipped, codes reach one beyond the type's range, so such a matrix gets a scheme with one more bit. Its values do not change.
/// </remarks>
internal static class GgufCodes
{
    private const int ScaleBytes = 2;

    /// <summary>Reads a matrix.</summary>
    /// <param name="file">The file.</param>
    /// <param name="tensor">A tensor of the file.</param>
    /// <param name="rowOf">Maps a row of the file to a row of the result.</param>
    /// <returns>The matrix; null if the type's scales are not evenly shared, or if a minimum is not a multiple of its scale.</returns>
    /// <exception cref="GgufException">A scale is not finite, the matrix has too many values for an array, or the file became shorter after it was
    /// opened.</exception>
    public static QuantizedTensor? TryRead(GgufFile file, GgufEntry tensor, Func<long, long> rowOf)
    {
        ArgumentNullException.ThrowIfNull(file);
        ArgumentNullException.ThrowIfNull(tensor);
        ArgumentNullException.ThrowIfNull(rowOf);
        if (tensor.Type is not (GgufType.Q4_0 or GgufType.Q4_1 or GgufType.Q5_0 or GgufType.Q5_1 or GgufType.Q8_0 or GgufType.TQ1_0 or GgufType.TQ2_0))
        {
            return null;
        }

        if (tensor.Columns * tensor.Rows > Array.MaxLength)
        {
            throw new GgufException(
                file.Path, tensor.Offset, $"tensor {tensor.Name} has {tensor.Columns * tensor.Rows} values; at most {Array.MaxLength} can be read");
        }

        var reader = new Reader(file, tensor);
        for (var row = 0L; row < tensor.Rows; row++)
        {
            if (!reader.ReadRow(row, (int)rowOf(row)))
            {
                return null;
            }
        }

        return reader.Finish();
    }

    private sealed class Reader
    {
        private readonly GgufFile file;
        private readonly GgufEntry tensor;
        private readonly int size;
        private readonly int blocks;
        private readonly bool affine;
        private readonly byte[] row;
        private readonly sbyte[] codes;
        private readonly float[] scales;
        private readonly sbyte[] zeroPoints;
        private int lowest, highest;

        public Reader(GgufFile file, GgufEntry tensor)
        {
            (this.file, this.tensor) = (file, tensor);
            QuantizedTensor.RequireSize($"{file.Path}: tensor {tensor.Name}", tensor.Rows, tensor.Columns);
            size = tensor.Type.BlockSize();
            blocks = (int)(tensor.Columns / size);
            affine = tensor.Type is GgufType.Q4_1 or GgufType.Q5_1;
            row = new byte[blocks * tensor.Type.BlockBytes()];
            codes = new sbyte[tensor.Rows * tensor.Columns];
            scales = new float[tensor.Rows * blocks];
            zeroPoints = new sbyte[affine ? scales.Length : 0];
        }

        private int Bits => tensor.Type switch { GgufType.Q4_0 or GgufType.Q4_1 => 4, GgufType.Q5_0 or GgufType.Q5_1 => 5, GgufType.Q8_0 => 8, _ => 2 };

        /// <summary>Reads a row of the file. Returns false if codes cannot represent it.</summary>
        public bool ReadRow(long row, int target)
        {
            file.ReadBytes(tensor, row * this.row.Length, this.row);
            Span<byte> codes = stackalloc byte[size];
            for (var block = 0; block < blocks; block++)
            {
                var bytes = this.row.AsSpan(block * tensor.Type.BlockBytes(), tensor.Type.BlockBytes());
                var (scale, minimum) = Unpack(bytes, codes);
                if (!float.IsFinite(scale) || !float.IsFinite(minimum))
                {
                    throw new GgufException(
                        file.Path, tensor.Offset + (row * this.row.Length) + (block * bytes.Length),
                        $"block {block} of row {row} of tensor {tensor.Name} has the scale {scale}{(affine ? $" and the minimum {minimum}" : string.Empty)}, "
                        + $"expected finite numbers; the file is damaged");
                }

                var group = (target * blocks) + block;
                var place = this.codes.AsSpan((target * (int)tensor.Columns) + (block * size), size);
                if (!(affine ? PutAffine(codes, scale, minimum, place, group) : PutSymmetric(codes, scale, place, group)))
                {
                    return false;
                }
            }

            return true;
        }

        public QuantizedTensor? Finish()
        {
            var granularity = Granularity.Group(size);
            var ternary = tensor.Type is GgufType.TQ1_0 or GgufType.TQ2_0;
            var reach = ternary ? 1 : 1 << (Bits - 1);
            var bits = lowest >= -reach && highest < reach + (ternary ? 1 : 0) ? Bits : Bits + 1;
            if (bits > QuantizationScheme.MaxBits || (ternary && bits > Bits))
            {
                return null;
            }

            var scheme = ternary ? QuantizationScheme.CreateTernary(granularity) : new QuantizationScheme(bits, symmetric: !affine, granularity);
            return new QuantizedTensor(
                (int)tensor.Rows, (int)tensor.Columns, scheme with { ScalePrecision = ScalePrecision.Float16 }, codes, scales, zeroPoints);
        }

        private (float Scale, float Minimum) Unpack(ReadOnlySpan<byte> block, Span<byte> codes)
        {
            switch (tensor.Type)
            {
                case GgufType.Q8_0:
                    block[ScaleBytes..].CopyTo(codes);
                    return (Rounding.ReadHalf(block), 0);
                case GgufType.Q4_0 or GgufType.Q5_0:
                    BlockCodes.Unpack(block[ScaleBytes..], Bits, codes);
                    return (Rounding.ReadHalf(block), 0);
                case GgufType.TQ1_0 or GgufType.TQ2_0:
                    TernaryCodes.Unpack(block, tensor.Type, codes);
                    return (Rounding.ReadHalf(block[^ScaleBytes..]), 0);
                default:
                    BlockCodes.Unpack(block[(2 * ScaleBytes)..], Bits, codes);
                    return (Rounding.ReadHalf(block), Rounding.ReadHalf(block[ScaleBytes..]));
            }
        }

        private bool PutSymmetric(ReadOnlySpan<byte> codes, float scale, Span<sbyte> place, int group)
        {
            // A scale of zero makes all values zero. Zero codes do the same with any scale.
            scales[group] = scale == 0 ? (float)Half.Epsilon : MathF.Abs(scale);
            var zero = BlockCodes.ZeroOf(tensor.Type);
            for (var i = 0; i < codes.Length; i++)
            {
                var integer = (tensor.Type == GgufType.Q8_0 ? (sbyte)codes[i] : codes[i] - zero) * MathF.Sign(scale);
                if (integer > sbyte.MaxValue)
                {
                    return false;
                }

                place[i] = (sbyte)integer;
                (lowest, highest) = (Math.Min(lowest, integer), Math.Max(highest, integer));
            }

            return true;
        }

        private bool PutAffine(ReadOnlySpan<byte> codes, float scale, float minimum, Span<sbyte> place, int group)
        {
            var (steps, lowest) = ((1 << Bits) - 1, -(1 << (Bits - 1)));
            var steady = scale == 0 && minimum == 0;
            scales[group] = steady ? (float)Half.Epsilon : scale;
            var zero = steady ? 0 : (int)MathF.Round(Math.Clamp(-minimum / scale, 0, steps));
            if (!(scales[group] > 0) || (float)(Half)(-scale * zero) != minimum)
            {
                return false;
            }

            zeroPoints[group] = (sbyte)(zero + lowest);
            for (var i = 0; i < codes.Length; i++)
            {
                place[i] = (sbyte)((steady ? 0 : codes[i]) + lowest);
            }

            return true;
        }
    }
}
