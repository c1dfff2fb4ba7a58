using Nibble.Files;
using Nibble.Formats.Gguf.Blocks;
using Nibble.Numerics;

namespace Nibble.Formats.Gguf;

/// <summary>Writes the codes of a quantized matrix into blocks without choosing new codes.</summary>
/// <remarks>
/// A block type can hold a matrix if each block lies in one group and <c>real = unit * k</c> has a unit that binary16 can hold and integers in the type's
/// range. <c>k</c> is <c>code - zeroPoint</c>, or <c>2 * code + 1</c> half steps on stretched grids. If the integers of a Q4_0 or Q5_0 block reach one
/// above the range but not its lower end, the block holds the negated integers and unit. Q4_1 and Q5_1 hold asymmetric 4-bit and 5-bit codes unchanged, but
/// round their minimum <c>-scale * (zeroPoint + 2^(bits-1))</c> to binary16.
/// </remarks>
internal sealed class ExactBlocks
{
    private const int ScaleBytes = 2;

    // Smallest first: the choice if no type is given. TQ1_0 can hold the same matrices as TQ2_0 and is slower to read.
    private static readonly GgufType[] Choices = [GgufType.TQ2_0, GgufType.Q4_0, GgufType.Q4_1, GgufType.Q5_0, GgufType.Q5_1, GgufType.Q8_0];

    private readonly QuantizedTensor tensor;

    private ExactBlocks(QuantizedTensor tensor, GgufType type)
    {
        this.tensor = tensor;
        Type = type;
        RowBytes = tensor.Columns / type.BlockSize() * type.BlockBytes();
        (RoundedMinimums, LargestShift) = MeasureMinimums();
    }

    /// <summary>The type of the blocks.</summary>
    public GgufType Type { get; }

    /// <summary>The size of a row in bytes.</summary>
    public int RowBytes { get; }

    /// <summary>The number of groups whose minimum binary16 cannot hold, so their values change slightly. 0 means that all values are exact.</summary>
    public int RoundedMinimums { get; }

    /// <summary>The largest change of a value, in steps of its group.</summary>
    public double LargestShift { get; }

    /// <summary>A description of the schemes that blocks can hold, for messages.</summary>
    public static string Rules { get; } =
        "GGUF blocks need float16 scales, and groups of a multiple of 32 that divide the row (or per channel or tensor). They hold symmetric weights of 2 to "
            + "4 bits in Q4_0, 5 bits in Q5_0 and 6 to 8 bits in Q8_0; asymmetric weights of 2 and 3 bits in Q4_0, 4 bits in Q5_0 (or Q4_1, with minimums "
            + "rounded to float16) and 5 to 7 bits in Q8_0 (5 also in Q5_1); and ternary weights in TQ2_0 and TQ1_0 with groups of a multiple of 256, "
            + "otherwise in Q4_0";

    /// <summary>Finds the smallest type that can hold a matrix; null if there is none.</summary>
    public static ExactBlocks? Find(QuantizedTensor tensor) => Choices.Select(type => Create(tensor, type)).FirstOrDefault(blocks => blocks is not null);

    /// <summary>Creates the blocks of one type; null if the type cannot hold the matrix.</summary>
    /// <param name="tensor">The matrix.</param>
    /// <param name="type">Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, TQ1_0 or TQ2_0.</param>
    public static ExactBlocks? Create(QuantizedTensor tensor, GgufType type)
    {
        ArgumentNullException.ThrowIfNull(tensor);
        var aligned = tensor.GroupIndex is null && tensor.Columns % type.BlockSize() == 0
            && (tensor.GroupLength % type.BlockSize() == 0 || tensor.GroupLength >= tensor.Columns);
        if (!aligned || BlockCodecs.Find(type) is null || !Array.TrueForAll(tensor.Scales, scale => IsHalf(Unit(tensor, scale))))
        {
            return null;
        }

        var bits = tensor.Scheme.Bits;
        var fits = type switch
        {
            GgufType.Q4_1 => !tensor.Scheme.Symmetric && bits <= 4 && MinimumsAreFinite(tensor),
            GgufType.Q5_1 => !tensor.Scheme.Symmetric && bits <= 5 && MinimumsAreFinite(tensor),
            GgufType.Q4_0 => Fits(tensor, type, -8, 7),
            GgufType.Q5_0 => Fits(tensor, type, -16, 15),
            GgufType.Q8_0 => Fits(tensor, type, sbyte.MinValue, sbyte.MaxValue),
            GgufType.TQ1_0 or GgufType.TQ2_0 => Fits(tensor, type, -1, 1),
            _ => false,
        };
        return fits ? new ExactBlocks(tensor, type) : null;
    }

    /// <summary>Writes a row.</summary>
    /// <param name="row">The row's index.</param>
    /// <param name="target">Receives <see cref="RowBytes"/> bytes.</param>
    public void WriteRow(int row, Span<byte> target)
    {
        var size = Type.BlockSize();
        Span<int> integers = stackalloc int[size];
        for (var column = 0; column < tensor.Columns; column += size, target = target[Type.BlockBytes()..])
        {
            var parameters = tensor.Parameters(row, tensor.GroupOf(column));
            var affine = Type is GgufType.Q4_1 or GgufType.Q5_1;
            for (var i = 0; i < size; i++)
            {
                var code = tensor.Codes[(row * tensor.Columns) + column + i];
                integers[i] = affine ? code - tensor.Scheme.Codes.Min : Integer(tensor.Scheme, code, parameters.ZeroPoint);
            }

            WriteBlock(Unit(tensor, parameters.Scale), Minimum(tensor.Scheme, parameters), integers, target);
        }
    }

    private void WriteBlock(float unit, float minimum, ReadOnlySpan<int> integers, Span<byte> target)
    {
        Span<byte> codes = stackalloc byte[integers.Length];
        var zero = BlockCodes.ZeroOf(Type);
        var sign = Type is GgufType.Q4_0 or GgufType.Q5_0 && integers.Contains(zero) ? -1 : 1;
        unit *= sign;
        for (var i = 0; i < integers.Length; i++)
        {
            codes[i] = (byte)((sign * integers[i]) + zero);
        }

        switch (Type)
        {
            case GgufType.Q8_0:
                Rounding.WriteHalf(target, unit);
                codes.CopyTo(target[ScaleBytes..]);
                break;
            case GgufType.Q4_0 or GgufType.Q5_0:
                Rounding.WriteHalf(target, unit);
                BlockCodes.Pack(codes, Type == GgufType.Q4_0 ? 4 : 5, target[ScaleBytes..]);
                break;
            case GgufType.TQ1_0 or GgufType.TQ2_0:
                TernaryCodes.Pack(codes, Type, target);
                Rounding.WriteHalf(target[(Type.BlockBytes() - ScaleBytes)..], unit);
                break;
            default:
                Rounding.WriteHalf(target, unit);
                Rounding.WriteHalf(target[ScaleBytes..], minimum);
                BlockCodes.Pack(codes, Type == GgufType.Q4_1 ? 4 : 5, target[(2 * ScaleBytes)..]);
                break;
        }
    }

    private (int Rounded, double Largest) MeasureMinimums()
    {
        var (rounded, largest) = (0, 0d);
        if (Type is GgufType.Q4_1 or GgufType.Q5_1)
        {
            for (var i = 0; i < tensor.Scales.Length; i++)
            {
                var minimum = Minimum(tensor.Scheme, new QuantizationParameters(tensor.Scales[i], tensor.ZeroPoints[i]));
                var shift = Math.Abs((float)(Half)minimum - (double)minimum) / tensor.Scales[i];
                rounded += shift > 0 ? 1 : 0;
                largest = Math.Max(largest, shift);
            }
        }

        return (rounded, largest);
    }

    private static bool MinimumsAreFinite(QuantizedTensor tensor)
    {
        for (var i = 0; i < tensor.Scales.Length; i++)
        {
            if (!Half.IsFinite((Half)Minimum(tensor.Scheme, new QuantizationParameters(tensor.Scales[i], tensor.ZeroPoints[i]))))
            {
                return false;
            }
        }

        return true;
    }

    private static bool Fits(QuantizedTensor tensor, GgufType type, int min, int max)
    {
        var scheme = tensor.Scheme;
        var size = type.BlockSize();
        for (var block = 0; block < tensor.Codes.Length; block += size)
        {
            var (lowest, highest) = (0, 0);
            for (var i = block; i < block + size; i++)
            {
                var zeroPoint = scheme.Symmetric ? 0 : tensor.Parameters(i / tensor.Columns, tensor.GroupOf(i % tensor.Columns)).ZeroPoint;
                var integer = Integer(scheme, tensor.Codes[i], zeroPoint);
                (lowest, highest) = (Math.Min(lowest, integer), Math.Max(highest, integer));
            }

            var fits = lowest >= min && highest <= max;
            var fitsNegated = type is GgufType.Q4_0 or GgufType.Q5_0 && lowest >= -max && highest <= -min;
            if (!fits && !fitsNegated)
            {
                return false;
            }
        }

        return true;
    }

    private static int Integer(QuantizationScheme scheme, int code, int zeroPoint) => scheme.Format == CodeFormat.Stretched ? (2 * code) + 1 : code - zeroPoint;

    private static float Unit(QuantizedTensor tensor, float scale) => tensor.Scheme.Format == CodeFormat.Stretched ? scale / 2 : scale;

    private static float Minimum(QuantizationScheme scheme, QuantizationParameters parameters) => -parameters.Scale * (parameters.ZeroPoint - scheme.Codes.Min);

    private static bool IsHalf(float value) => (float)(Half)value == value;
}
