using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace Nibble.Numerics.Kernels;

/// <summary>The kernel for 256-bit vectors of x86 (Haswell, Zen and later).</summary>
internal sealed class Avx2Kernel : IQuantizationKernel
{
    private const int Width = 8;
    private const int Block = 4 * Width;

    public static bool IsSupported => Avx2.IsSupported && Fma.IsSupported;

    public string Name => "avx2";

    public ValueStatistics Measure(ReadOnlySpan<float> values)
    {
        ref var source = ref MemoryMarshal.GetReference(values);
        var infinity = Vector256.Create(float.PositiveInfinity);
        var (lowest0, lowest1, highest0, highest1) = (infinity, infinity, -infinity, -infinity);
        var (finite0, finite1) = (Vector256<int>.Zero, Vector256<int>.Zero);
        var done = 0;
        for (; done <= values.Length - (2 * Width); done += 2 * Width)
        {
            var value0 = Vector256.LoadUnsafe(ref source, (nuint)done);
            var value1 = Vector256.LoadUnsafe(ref source, (nuint)(done + Width));
            var isFinite0 = Avx.CompareLessThan(Vector256.Abs(value0), infinity);
            var isFinite1 = Avx.CompareLessThan(Vector256.Abs(value1), infinity);
            lowest0 = Avx.Min(lowest0, Avx.BlendVariable(infinity, value0, isFinite0));
            lowest1 = Avx.Min(lowest1, Avx.BlendVariable(infinity, value1, isFinite1));
            highest0 = Avx.Max(highest0, Avx.BlendVariable(-infinity, value0, isFinite0));
            highest1 = Avx.Max(highest1, Avx.BlendVariable(-infinity, value1, isFinite1));
            finite0 -= isFinite0.AsInt32();
            finite1 -= isFinite1.AsInt32();
        }

        // Reduces by halves: reading lane by lane would cost more than a group of 32 values.
        var lowest = Avx.Min(lowest0, lowest1);
        var highest = Avx.Max(highest0, highest1);
        var low = Sse.Min(lowest.GetLower(), lowest.GetUpper());
        var high = Sse.Max(highest.GetLower(), highest.GetUpper());
        low = Sse.Min(low, Sse.MoveHighToLow(low, low));
        high = Sse.Max(high, Sse.MoveHighToLow(high, high));
        var min = Sse.MinScalar(low, Sse.Shuffle(low, low, 1)).ToScalar();
        var max = Sse.MaxScalar(high, Sse.Shuffle(high, high, 1)).ToScalar();

        var rest = ScalarKernel.Instance.Measure(values[done..]);
        var nonFinite = done - Vector256.Sum(finite0 + finite1) + rest.NonFiniteCount;
        return ValueStatistics.Create(MathF.Min(min, rest.Range.Min), MathF.Max(max, rest.Range.Max), nonFinite);
    }

    public void Quantize(ReadOnlySpan<float> values, QuantizationParameters parameters, CodeRange codes, Span<sbyte> destination)
    {
        ref var source = ref MemoryMarshal.GetReference(values);
        ref var target = ref MemoryMarshal.GetReference(destination);
        var rounder = new Rounder(parameters, codes);
        var zeroPoint = Vector256.Create(parameters.ZeroPoint);
        // Packing works inside 128-bit halves. This puts groups of four codes back in order.
        var order = Vector256.Create(0, 4, 1, 5, 2, 6, 3, 7);
        var done = 0;
        for (; done <= values.Length - Block; done += Block)
        {
            var first = rounder.Steps(Vector256.LoadUnsafe(ref source, (nuint)done)) + zeroPoint;
            var second = rounder.Steps(Vector256.LoadUnsafe(ref source, (nuint)(done + Width))) + zeroPoint;
            var third = rounder.Steps(Vector256.LoadUnsafe(ref source, (nuint)(done + (2 * Width)))) + zeroPoint;
            var fourth = rounder.Steps(Vector256.LoadUnsafe(ref source, (nuint)(done + (3 * Width)))) + zeroPoint;
            var packed = Avx2.PackSignedSaturate(Avx2.PackSignedSaturate(first, second), Avx2.PackSignedSaturate(third, fourth));
            Avx2.PermuteVar8x32(packed.AsInt32(), order).AsSByte().StoreUnsafe(ref target, (nuint)done);
        }

        ScalarKernel.Instance.Quantize(values[done..], parameters, codes, destination[done..]);
    }

    public void Dequantize(ReadOnlySpan<sbyte> codes, QuantizationParameters parameters, Span<float> destination)
    {
        ref var source = ref MemoryMarshal.GetReference(codes);
        ref var target = ref MemoryMarshal.GetReference(destination);
        var scale = Vector256.Create(parameters.Scale);
        var zeroPoint = Vector256.Create(parameters.ZeroPoint);
        var done = 0;
        for (; done <= codes.Length - (2 * Width); done += 2 * Width)
        {
            var sixteen = Vector128.LoadUnsafe(ref source, (nuint)done);
            var low = Avx2.ConvertToVector256Int32(sixteen) - zeroPoint;
            var high = Avx2.ConvertToVector256Int32(Sse2.ShiftRightLogical128BitLane(sixteen, Width)) - zeroPoint;
            (scale * Avx.ConvertToVector256Single(low)).StoreUnsafe(ref target, (nuint)done);
            (scale * Avx.ConvertToVector256Single(high)).StoreUnsafe(ref target, (nuint)(done + Width));
        }

        ScalarKernel.Instance.Dequantize(codes[done..], parameters, destination[done..]);
    }

    public void FakeQuantize(ReadOnlySpan<float> values, QuantizationParameters parameters, CodeRange codes, Span<float> destination)
    {
        ref var source = ref MemoryMarshal.GetReference(values);
        ref var target = ref MemoryMarshal.GetReference(destination);
        var rounder = new Rounder(parameters, codes);
        var done = 0;
        for (; done <= values.Length - Width; done += Width)
        {
            rounder.FakeQuantize(Vector256.LoadUnsafe(ref source, (nuint)done)).StoreUnsafe(ref target, (nuint)done);
        }

        ScalarKernel.Instance.FakeQuantize(values[done..], parameters, codes, destination[done..]);
    }

    public void FakeQuantize(ReadOnlySpan<float> values, TrainingGrid grid, Span<float> destination)
    {
        ref var source = ref MemoryMarshal.GetReference(values);
        ref var target = ref MemoryMarshal.GetReference(destination);
        var rounder = new GridRounder(grid);
        var done = 0;
        for (; done <= values.Length - Width; done += Width)
        {
            rounder.FakeQuantize(Vector256.LoadUnsafe(ref source, (nuint)done)).StoreUnsafe(ref target, (nuint)done);
        }

        ScalarKernel.Instance.FakeQuantize(values[done..], grid, destination[done..]);
    }

    public GridGradient Backward(ReadOnlySpan<float> values, ReadOnlySpan<float> gradients, TrainingGrid grid, Span<float> destination)
    {
        ref var source = ref MemoryMarshal.GetReference(values);
        ref var given = ref MemoryMarshal.GetReference(gradients);
        ref var target = ref MemoryMarshal.GetReference(destination);
        var rounder = new GridRounder(grid);
        var writes = !destination.IsEmpty;
        var (scaleLow, scaleHigh) = (Vector256<double>.Zero, Vector256<double>.Zero);
        var (outsideLow, outsideHigh) = (Vector256<double>.Zero, Vector256<double>.Zero);
        var done = 0;
        for (; done <= values.Length - Width; done += Width)
        {
            var gradient = Vector256.LoadUnsafe(ref given, (nuint)done);
            var (inside, residual) = rounder.Backward(Vector256.LoadUnsafe(ref source, (nuint)done));
            if (writes)
            {
                Avx.And(inside, gradient).StoreUnsafe(ref target, (nuint)done);
            }

            var outside = Avx.AndNot(inside, gradient);
            outsideLow += Avx.ConvertToVector256Double(outside.GetLower());
            outsideHigh += Avx.ConvertToVector256Double(outside.GetUpper());
            scaleLow = Fma.MultiplyAdd(Avx.ConvertToVector256Double(gradient.GetLower()), Avx.ConvertToVector256Double(residual.GetLower()), scaleLow);
            scaleHigh = Fma.MultiplyAdd(Avx.ConvertToVector256Double(gradient.GetUpper()), Avx.ConvertToVector256Double(residual.GetUpper()), scaleHigh);
        }

        var sums = default(GridGradientSums);
        Span<double> lanes = sums.Scale;
        scaleLow.CopyTo(lanes);
        scaleHigh.CopyTo(lanes[(LaneSums.Count / 2)..]);
        lanes = sums.Outside;
        outsideLow.CopyTo(lanes);
        outsideHigh.CopyTo(lanes[(LaneSums.Count / 2)..]);
        sums.AddRest(values, gradients, done, grid, destination);
        return sums.Total();
    }

    public double SquaredError(ReadOnlySpan<float> values, QuantizationParameters parameters, CodeRange codes)
    {
        ref var source = ref MemoryMarshal.GetReference(values);
        var rounder = new Rounder(parameters, codes);
        var (low, high) = (Vector256<double>.Zero, Vector256<double>.Zero);
        var done = 0;
        for (; done <= values.Length - Width; done += Width)
        {
            var value = Vector256.LoadUnsafe(ref source, (nuint)done);
            var difference = value - rounder.FakeQuantize(value);
            var lowDifference = Avx.ConvertToVector256Double(difference.GetLower());
            var highDifference = Avx.ConvertToVector256Double(difference.GetUpper());
            low = Fma.MultiplyAdd(lowDifference, lowDifference, low);
            high = Fma.MultiplyAdd(highDifference, highDifference, high);
        }

        var sums = default(LaneSums);
        Span<double> lanes = sums;
        low.CopyTo(lanes);
        high.CopyTo(lanes[(LaneSums.Count / 2)..]);
        sums.AddRest(values, done, parameters, codes);
        return sums.Total();
    }

    public double WeightedSquaredError(ReadOnlySpan<float> values, ReadOnlySpan<float> importance, QuantizationParameters parameters, CodeRange codes)
    {
        ref var source = ref MemoryMarshal.GetReference(values);
        ref var weights = ref MemoryMarshal.GetReference(importance);
        var rounder = new Rounder(parameters, codes);
        var (low, high) = (Vector256<double>.Zero, Vector256<double>.Zero);
        var done = 0;
        for (; done <= values.Length - Width; done += Width)
        {
            var value = Vector256.LoadUnsafe(ref source, (nuint)done);
            var weight = Vector256.LoadUnsafe(ref weights, (nuint)done);
            var difference = value - rounder.FakeQuantize(value);
            var lowDifference = Avx.ConvertToVector256Double(difference.GetLower());
            var highDifference = Avx.ConvertToVector256Double(difference.GetUpper());
            low += Avx.ConvertToVector256Double(weight.GetLower()) * (lowDifference * lowDifference);
            high += Avx.ConvertToVector256Double(weight.GetUpper()) * (highDifference * highDifference);
        }

        var sums = default(LaneSums);
        Span<double> lanes = sums;
        low.CopyTo(lanes);
        high.CopyTo(lanes[(LaneSums.Count / 2)..]);
        sums.AddRest(values, importance, done, parameters, codes);
        return sums.Total();
    }

    public void Pack(ReadOnlySpan<sbyte> codes, int bits, Span<byte> destination)
    {
        var done = bits switch
        {
            2 => Pack2(codes, destination),
            4 => Pack4(codes, destination),
            8 => Flip8(MemoryMarshal.AsBytes(codes), destination),
            _ => 0,
        };
        WordPacking.Pack(codes[done..], bits, destination[(done / 8 * bits)..]);
    }

    public void Unpack(ReadOnlySpan<byte> packed, int bits, Span<sbyte> codes)
    {
        var done = bits switch
        {
            2 => Unpack2(packed, codes),
            4 => Unpack4(packed, codes),
            8 => Flip8(packed, MemoryMarshal.AsBytes(codes)),
            _ => 0,
        };
        WordPacking.Unpack(packed[(done / 8 * bits)..], bits, codes[done..]);
    }

    private static int Pack4(ReadOnlySpan<sbyte> codes, Span<byte> destination)
    {
        ref var source = ref MemoryMarshal.GetReference(codes);
        ref var target = ref MemoryMarshal.GetReference(destination);
        // For each pair of codes: low + 16 * high.
        var weights = Vector256.Create((short)((16 << 8) | 1)).AsSByte();
        var done = 0;
        for (; done <= codes.Length - Block; done += Block)
        {
            var nibbles = (Vector256.LoadUnsafe(ref source, (nuint)done).AsByte() ^ Vector256.Create((byte)8)) & Vector256.Create((byte)15);
            var bytes = Avx2.MultiplyAddAdjacent(nibbles, weights);
            Sse2.PackUnsignedSaturate(bytes.GetLower(), bytes.GetUpper()).StoreUnsafe(ref target, (nuint)(done / 2));
        }

        return done;
    }

    private static int Unpack4(ReadOnlySpan<byte> packed, Span<sbyte> codes)
    {
        ref var source = ref MemoryMarshal.GetReference(packed);
        ref var target = ref MemoryMarshal.GetReference(codes);
        var done = 0;
        for (; done <= codes.Length - Block; done += Block)
        {
            var bytes = Avx2.ConvertToVector256Int16(Vector128.LoadUnsafe(ref source, (nuint)(done / 2)));
            var nibbles = ((bytes | (bytes << 4)) & Vector256.Create((short)0x0F0F)).AsSByte();
            (nibbles - Vector256.Create((sbyte)8)).StoreUnsafe(ref target, (nuint)done);
        }

        return done;
    }

    private static int Pack2(ReadOnlySpan<sbyte> codes, Span<byte> destination)
    {
        ref var source = ref MemoryMarshal.GetReference(codes);
        ref var target = ref MemoryMarshal.GetReference(destination);
        // For each pair of codes: low + 4 * high. For each pair of pairs: low + 16 * high.
        var codeWeights = Vector256.Create((short)((4 << 8) | 1)).AsSByte();
        var pairWeights = Vector256.Create((16 << 16) | 1).AsInt16();
        var done = 0;
        for (; done <= codes.Length - Block; done += Block)
        {
            var crumbs = (Vector256.LoadUnsafe(ref source, (nuint)done).AsByte() ^ Vector256.Create((byte)2)) & Vector256.Create((byte)3);
            var bytes = Avx2.MultiplyAddAdjacent(Avx2.MultiplyAddAdjacent(crumbs, codeWeights), pairWeights);
            var words = Sse41.PackUnsignedSaturate(bytes.GetLower(), bytes.GetUpper()).AsInt16();
            Sse2.PackUnsignedSaturate(words, words).GetLower().StoreUnsafe(ref target, (nuint)(done / 4));
        }

        return done;
    }

    private static int Unpack2(ReadOnlySpan<byte> packed, Span<sbyte> codes)
    {
        ref var source = ref MemoryMarshal.GetReference(packed);
        ref var target = ref MemoryMarshal.GetReference(codes);
        var done = 0;
        for (; done <= codes.Length - Block; done += Block)
        {
            var bytes = Avx2.ConvertToVector256Int32(Vector64.LoadUnsafe(ref source, (nuint)(done / 4)).ToVector128Unsafe());
            var nibbles = (bytes | (bytes << 12)) & Vector256.Create(0x000F000F);
            var crumbs = ((nibbles | (nibbles << 6)) & Vector256.Create(0x03030303)).AsSByte();
            (crumbs - Vector256.Create((sbyte)2)).StoreUnsafe(ref target, (nuint)done);
        }

        return done;
    }

    /// <summary>Adds 128 to each byte, modulo 256, which packs and unpacks 8-bit codes.</summary>
    private static int Flip8(ReadOnlySpan<byte> from, Span<byte> to)
    {
        ref var source = ref MemoryMarshal.GetReference(from);
        ref var target = ref MemoryMarshal.GetReference(to);
        var done = 0;
        for (; done <= to.Length - Block; done += Block)
        {
            (Vector256.LoadUnsafe(ref source, (nuint)done) ^ Vector256.Create((byte)0x80)).StoreUnsafe(ref target, (nuint)done);
        }

        return done;
    }

    /// <summary>Rounds values to steps away from the zero point.</summary>
    private readonly ref struct Rounder(QuantizationParameters parameters, CodeRange codes)
    {
        private readonly Vector256<float> scale = Vector256.Create(parameters.Scale);
        private readonly Vector256<float> lowest = Vector256.Create((float)(codes.Min - parameters.ZeroPoint));
        private readonly Vector256<float> highest = Vector256.Create((float)(codes.Max - parameters.ZeroPoint));

        // Clamping to whole numbers first does not change the result. The conversion, which rounds half to even, then cannot overflow.
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public Vector256<int> Steps(Vector256<float> values)
        {
            var steps = values / scale;
            steps = Avx.And(steps, Avx.CompareOrdered(steps, steps));
            return Avx.ConvertToVector256Int32(Avx.Min(Avx.Max(steps, lowest), highest));
        }

        // Goes through integers, so that zero has no sign, as in the specification.
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public Vector256<float> FakeQuantize(Vector256<float> values) => scale * Avx.ConvertToVector256Single(Steps(values));
    }

    /// <summary><see cref="TrainingGrid"/>, eight values at a time.</summary>
    private readonly ref struct GridRounder(TrainingGrid grid)
    {
        private readonly Vector256<float> scale = Vector256.Create(grid.Scale);
        private readonly Vector256<float> lowest = Vector256.Create(grid.Lowest);
        private readonly Vector256<float> highest = Vector256.Create(grid.Highest);
        private readonly Vector256<float> shift = Vector256.Create(grid.Shift);
        private readonly bool stretched = grid.Shift != 0;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public Vector256<float> FakeQuantize(Vector256<float> values) => scale * (Clamp(Round(values / scale)) + shift);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public (Vector256<float> Inside, Vector256<float> Residual) Backward(Vector256<float> values)
        {
            var steps = values / scale;
            var step = Round(steps);
            var inside = Avx.And(Avx.CompareGreaterThanOrEqual(step, lowest), Avx.CompareLessThanOrEqual(step, highest));
            return (inside, Clamp(step) + shift - Avx.And(inside, steps));
        }

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        private Vector256<float> Round(Vector256<float> steps) => stretched ? Avx.Floor(steps) : Avx.RoundToNearestInteger(steps);

        // If one of two operands is NaN, minimum and maximum return the second.
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        private Vector256<float> Clamp(Vector256<float> step) => Avx.Min(highest, Avx.Max(lowest, step));
    }
}
