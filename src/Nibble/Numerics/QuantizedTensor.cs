using System.Globalization;
using Nibble.Numerics.Kernels;

namespace Nibble.Numerics;

/// <summary>A matrix of codes with its scales and zero points: <c>real = scale * (code - zeroPoint)</c>, stretched <c>scale * (code + 1/2)</c>.</summary>
/// <remarks>
/// Row <c>r</c>, column <c>c</c> uses parameters <c>r * GroupsPerRow + GroupOf(c)</c>, except per tensor, where all values use
/// parameters 0. The last group of a row may be shorter than the others. Groups hold neighbouring columns unless
/// <see cref="GroupIndex"/> is set.
/// </remarks>
public sealed class QuantizedTensor
{
    /// <summary>Creates a matrix from its parts. The arrays are kept, not copied.</summary>
    /// <param name="rows">Rows (output channels of a weight).</param>
    /// <param name="columns">Columns (input channels of a weight).</param>
    /// <param name="scheme">How to interpret the codes.</param>
    /// <param name="codes">Codes, row by row: <paramref name="rows"/> x <paramref name="columns"/>.</param>
    /// <param name="scales">One scale per group, row by row.</param>
    /// <param name="zeroPoints">One zero point per group, row by row; empty for symmetric schemes.</param>
    /// <param name="groupIndex">The group of each column, for groups of scattered columns; null if groups hold neighbouring columns.</param>
    /// <exception cref="ArgumentException">A length does not follow from the shape and the scheme, or the group index violates the rule of
    /// <see cref="GroupIndex"/>.</exception>
    /// <exception cref="NibbleException">The matrix has more than <see cref="MostValues"/> values.</exception>
    public QuantizedTensor(int rows, int columns, QuantizationScheme scheme, sbyte[] codes, float[] scales, sbyte[] zeroPoints, int[]? groupIndex = null)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(rows, 1);
        ArgumentOutOfRangeException.ThrowIfLessThan(columns, 1);
        ArgumentNullException.ThrowIfNull(scheme);
        ArgumentNullException.ThrowIfNull(codes);
        ArgumentNullException.ThrowIfNull(scales);
        ArgumentNullException.ThrowIfNull(zeroPoints);
        RequireSize("the matrix", rows, columns);
        Rows = rows;
        Columns = columns;
        Scheme = scheme;
        GroupLength = scheme.Granularity.GroupLength(columns);
        GroupsPerRow = (columns + GroupLength - 1) / GroupLength;
        var groups = GroupCount(rows, columns, scheme.Granularity);
        RequireLength(nameof(codes), codes.Length, rows * columns);
        RequireLength(nameof(scales), scales.Length, groups);
        RequireLength(nameof(zeroPoints), zeroPoints.Length, scheme.Symmetric ? 0 : groups);
        if (groupIndex is not null && FindGroupIndexFault(groupIndex, columns, scheme.Granularity) is { } fault)
        {
            throw new ArgumentException($"{fault}.", nameof(groupIndex));
        }

        Codes = codes;
        Scales = scales;
        ZeroPoints = zeroPoints;
        GroupIndex = groupIndex;
    }

    /// <summary>The most values in a matrix. Its codes are one array.</summary>
    public static int MostValues => Array.MaxLength;

    /// <summary>Rows (output channels of a weight).</summary>
    public int Rows { get; }

    /// <summary>Columns (input channels of a weight).</summary>
    public int Columns { get; }

    /// <summary>How to interpret the codes.</summary>
    public QuantizationScheme Scheme { get; }

    /// <summary>Values of a row that share parameters. The last group of a row may hold fewer.</summary>
    public int GroupLength { get; }

    /// <summary>Groups in a row, 1 unless the granularity is per group.</summary>
    public int GroupsPerRow { get; }

    /// <summary>Codes, row by row.</summary>
    public sbyte[] Codes { get; }

    /// <summary>Scales, row by row.</summary>
    public float[] Scales { get; }

    /// <summary>Zero points, row by row; empty for symmetric schemes.</summary>
    public sbyte[] ZeroPoints { get; }

    /// <summary>The group of each column, the same in all rows; null if column <c>c</c> belongs to group <c>c / GroupLength</c>.</summary>
    /// <remarks>
    /// Per group only. Each group has <see cref="GroupLength"/> columns, and the last group has the rest. Sorted by group, the columns are in the
    /// same order as without an index (compressed-tensors' <c>weight_g_idx</c>).
    /// </remarks>
    public int[]? GroupIndex { get; }

    /// <summary>Bytes that the matrix takes in an artifact: <see cref="CountStoredBytes"/> of its shape, scheme and group index.</summary>
    public long StoredBytes => CountStoredBytes(Rows, Columns, Scheme, GroupIndex is not null);

    /// <summary>Rejects a matrix with more than <see cref="MostValues"/> values before any work is done.</summary>
    /// <param name="name">The matrix's name, for the message.</param>
    /// <param name="rows">Rows.</param>
    /// <param name="columns">Columns.</param>
    /// <exception cref="NibbleException">The matrix has too many values.</exception>
    public static void RequireSize(string name, long rows, long columns)
    {
        if ((Int128)rows * columns > MostValues)
        {
            throw new NibbleException(string.Create(
                CultureInfo.InvariantCulture,
                $"{name} has {rows:N0} x {columns:N0} values, and a quantized matrix can have at most {MostValues:N0}; leave it in float"));
        }
    }

    /// <summary>Bytes that a matrix takes in a compressed-tensors <c>pack-quantized</c> file, without names and shapes.</summary>
    /// <remarks>
    /// Codes: each row is a dense bit stream, padded to whole 32-bit words. Scales: 4 or 2 bytes each, depending on
    /// <see cref="QuantizationScheme.ScalePrecision"/>. Zero points of asymmetric schemes: packed down the columns as codes are along the rows.
    /// Group index: 4 bytes per column.
    /// </remarks>
    public static long CountStoredBytes(int rows, int columns, QuantizationScheme scheme, bool hasGroupIndex = false)
    {
        ArgumentNullException.ThrowIfNull(scheme);
        var scaleRows = scheme.Granularity is PerTensor ? 1 : rows;
        var groups = scaleRows * (long)GroupCount(1, columns, scheme.Granularity);
        var codeBytes = rows * WordBytes(columns, scheme.Bits);
        var scaleBytes = groups * (scheme.ScalePrecision == ScalePrecision.Float16 ? 2 : 4);
        var zeroPointBytes = scheme.Symmetric ? 0 : groups / scaleRows * WordBytes(scaleRows, scheme.Bits);
        var indexBytes = hasGroupIndex ? (long)columns * sizeof(int) : 0;
        return codeBytes + scaleBytes + zeroPointBytes + indexBytes;
    }

    /// <summary>The number of scales of a matrix.</summary>
    /// <exception cref="NibbleException">The matrix has more than <see cref="MostValues"/> scales.</exception>
    public static int GroupCount(int rows, int columns, Granularity granularity)
    {
        ArgumentNullException.ThrowIfNull(granularity);
        if (granularity is PerTensor)
        {
            return 1;
        }

        var length = granularity.GroupLength(columns);
        var groups = (columns / length) + (columns % length == 0 ? 0 : 1);
        RequireSize("the matrix of scales", rows, groups);
        return rows * groups;
    }

    /// <summary>What is wrong with a group index, as the beginning of a message; null if nothing is.</summary>
    internal static string? FindGroupIndexFault(ReadOnlySpan<int> groupIndex, int columns, Granularity granularity)
    {
        if (granularity is not PerGroup)
        {
            return $"a group index needs groups, found one with scales per {granularity}";
        }

        if (groupIndex.Length != columns)
        {
            return $"the group index has {groupIndex.Length} entries, expected {columns}, one per column";
        }

        var length = granularity.GroupLength(columns);
        var counts = new int[GroupCount(1, columns, granularity)];
        for (var column = 0; column < columns; column++)
        {
            var group = groupIndex[column];
            if (group < 0 || group >= counts.Length)
            {
                return $"column {column} has group {group}, expected 0 to {counts.Length - 1}";
            }

            counts[group]++;
        }

        for (var group = 0; group < counts.Length; group++)
        {
            var expected = Math.Min(length, columns - (group * length));
            if (counts[group] != expected)
            {
                return $"group {group} has {counts[group]} columns, expected {expected}";
            }
        }

        return null;
    }

    /// <summary>The group of a column.</summary>
    public int GroupOf(int column) => GroupIndex is null ? column / GroupLength : GroupIndex[column];

    /// <summary>The scale and zero point of a group of a row.</summary>
    public QuantizationParameters Parameters(int row, int group)
    {
        var index = Scheme.Granularity is PerTensor ? 0 : (row * GroupsPerRow) + group;
        return new QuantizationParameters(Scales[index], Scheme.Symmetric ? 0 : ZeroPoints[index]);
    }

    /// <summary>The value of one code.</summary>
    /// <param name="index">The index of the code, row by row.</param>
    public float ValueAt(int index)
    {
        var parameters = Parameters(index / Columns, GroupOf(index % Columns));
        return Scheme.Format == CodeFormat.Stretched
            ? ScalarQuantizer.DequantizeStretched(Codes[index], parameters.Scale)
            : ScalarQuantizer.Dequantize(Codes[index], parameters);
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
        if (GroupIndex is not null || Scheme.Format == CodeFormat.Stretched)
        {
            for (var i = 0; i < Codes.Length; i++)
            {
                destination[i] = ValueAt(i);
            }

            return;
        }

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

    private static long WordBytes(int count, int bits) => (((long)count * bits) + 31) / 32 * sizeof(uint);

    private static void RequireLength(string name, int found, int expected)
    {
        if (found != expected)
        {
            throw new ArgumentException($"{name} has {found} values, expected {expected}.", name);
        }
    }
}
