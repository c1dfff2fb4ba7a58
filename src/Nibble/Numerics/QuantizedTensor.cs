using Nibble.Kernels;

namespace Nibble.Numerics;

/// <summary>A matrix of codes with its scales and zero points: <c>real = scale * (code - zeroPoint)</c>.</summary>
/// <remarks>
/// Row <c>r</c>, column <c>c</c> belongs to parameters <c>r * GroupsPerRow + c / GroupLength</c>, except per tensor, where all
/// share parameters 0. The last group of a row may be shorter than the others.
/// </remarks>
public sealed class QuantizedTensor
{
    /// <summary>Creates a matrix from its parts, which it keeps and does not copy.</summary>
    /// <param name="rows">Rows (output channels of a weight).</param>
    /// <param name="columns">Columns (input channels of a weight).</param>
    /// <param name="scheme">How the codes are to be read.</param>
    /// <param name="codes">Codes, row by row: <paramref name="rows"/> x <paramref name="columns"/>.</param>
    /// <param name="scales">One scale per group, row by row.</param>
    /// <param name="zeroPoints">One zero point per group, row by row; empty in symmetric schemes.</param>
    /// <exception cref="ArgumentException">A length does not follow from the shape and the scheme.</exception>
    public QuantizedTensor(int rows, int columns, QuantizationScheme scheme, sbyte[] codes, float[] scales, sbyte[] zeroPoints)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(rows, 1);
        ArgumentOutOfRangeException.ThrowIfLessThan(columns, 1);
        ArgumentNullException.ThrowIfNull(scheme);
        ArgumentNullException.ThrowIfNull(codes);
        ArgumentNullException.ThrowIfNull(scales);
        ArgumentNullException.ThrowIfNull(zeroPoints);
        Rows = rows;
        Columns = columns;
        Scheme = scheme;
        GroupLength = scheme.Granularity.GroupLength(columns);
        GroupsPerRow = (columns + GroupLength - 1) / GroupLength;
        var groups = GroupCount(rows, columns, scheme.Granularity);
        RequireLength(nameof(codes), codes.Length, checked(rows * columns));
        RequireLength(nameof(scales), scales.Length, groups);
        RequireLength(nameof(zeroPoints), zeroPoints.Length, scheme.Symmetric ? 0 : groups);
        Codes = codes;
        Scales = scales;
        ZeroPoints = zeroPoints;
    }

    /// <summary>Rows (output channels of a weight).</summary>
    public int Rows { get; }

    /// <summary>Columns (input channels of a weight).</summary>
    public int Columns { get; }

    /// <summary>How the codes are to be read.</summary>
    public QuantizationScheme Scheme { get; }

    /// <summary>Values of a row that share parameters; the last group of a row may hold fewer.</summary>
    public int GroupLength { get; }

    /// <summary>Groups in a row (1 unless the granularity is per group).</summary>
    public int GroupsPerRow { get; }

    /// <summary>Codes, row by row.</summary>
    public sbyte[] Codes { get; }

    /// <summary>Scales, row by row.</summary>
    public float[] Scales { get; }

    /// <summary>Zero points, row by row; empty in symmetric schemes.</summary>
    public sbyte[] ZeroPoints { get; }

    /// <summary>Bytes that the matrix takes in a compressed-tensors <c>pack-quantized</c> file, without names and shapes.</summary>
    /// <remarks>
    /// Codes: each row is filled up to whole 32-bit words of <c>floor(32 / bits)</c> codes. Scales: 4 or 2 bytes each, by
    /// <see cref="QuantizationScheme.ScalePrecision"/>. Zero points of asymmetric schemes: packed down the rows like the codes along
    /// them, or one byte for the one of a whole tensor.
    /// </remarks>
    public long StoredBytes
    {
        get
        {
            var codesPerWord = 32 / Scheme.Bits;
            var codeBytes = Rows * WordBytes(Columns, codesPerWord);
            var scaleBytes = (long)Scales.Length * (Scheme.ScalePrecision == ScalePrecision.Float16 ? 2 : 4);
            var zeroPointBytes = Scheme.Symmetric ? 0 : Scheme.Granularity is PerTensor ? 1 : GroupsPerRow * WordBytes(Rows, codesPerWord);
            return codeBytes + scaleBytes + zeroPointBytes;
        }
    }

    /// <summary>How many scales a matrix has.</summary>
    public static int GroupCount(int rows, int columns, Granularity granularity)
    {
        ArgumentNullException.ThrowIfNull(granularity);
        if (granularity is PerTensor)
        {
            return 1;
        }

        var length = granularity.GroupLength(columns);
        return checked(rows * ((columns + length - 1) / length));
    }

    /// <summary>The scale and zero point of a group of a row.</summary>
    public QuantizationParameters Parameters(int row, int group)
    {
        var index = Scheme.Granularity is PerTensor ? 0 : (row * GroupsPerRow) + group;
        return new QuantizationParameters(Scales[index], Scheme.Symmetric ? 0 : ZeroPoints[index]);
    }

    /// <summary>The values of the codes, row by row.</summary>
    public float[] Dequantize()
    {
        var values = new float[Codes.Length];
        Dequantize(values);
        return values;
    }

    /// <summary>Writes the values of the codes, row by row.</summary>
    /// <param name="destination">Receives <see cref="Rows"/> x <see cref="Columns"/> values.</param>
    /// <exception cref="ArgumentException">The destination has another length.</exception>
    public void Dequantize(Span<float> destination)
    {
        RequireLength(nameof(destination), destination.Length, Codes.Length);
        var kernel = QuantizationKernels.Active;
        for (var row = 0; row < Rows; row++)
        {
            for (var group = 0; group < GroupsPerRow; group++)
            {
                var column = group * GroupLength;
                var start = (row * Columns) + column;
                var length = Math.Min(GroupLength, Columns - column);
                kernel.Dequantize(Codes.AsSpan(start, length), Parameters(row, group), destination.Slice(start, length));
            }
        }
    }

    private static long WordBytes(int count, int countPerWord) => (((long)count + countPerWord - 1) / countPerWord) * sizeof(uint);

    private static void RequireLength(string name, int found, int expected)
    {
        if (found != expected)
        {
            throw new ArgumentException($"{name} has {found} values, expected {expected}.", name);
        }
    }
}
