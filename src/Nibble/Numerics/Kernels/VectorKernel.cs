using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace Nibble.Numerics.Kernels;

/// <summary>The kernel for portable vectors of the machine's width.</summary>
internal sealed class VectorKernel : IQuantizationKernel
{
    public static bool IsSupported => Vector.IsHardwareAccelerated;

    public string Name => "vector";

    public ValueStatistics Measure(ReadOnlySpan<float> values)
    {
        ref var source = ref MemoryMarshal.GetReference(values);
        var infinity = new Vector<float>(float.PositiveInfinity);
        var lowest = infinity;
        var highest = -infinity;
        var finite = Vector<int>.Zero;
        var width = Vector<float>.Count;
        var done = 0;
        for (; done <= values.Length - width; done += width)
        {
            var value = Vector.LoadUnsafe(ref source, (nuint)done);
            var isFinite = Vector.LessThan(Vector.Abs(value), infinity);
            lowest = Vector.MinNative(lowest, Vector.ConditionalSelect(isFinite, value, infinity));
            highest = Vector.MaxNative(highest, Vector.ConditionalSelect(isFinite, value, -infinity));
            finite -= isFinite;
        }

        var min = float.PositiveInfinity;
        var max = float.NegativeInfinity;
        for (var i = 0; i < width; i++)
        {
            min = MathF.Min(min, lowest[i]);
            max = MathF.Max(max, highest[i]);
        }

        var rest = ScalarKernel.Instance.Measure(values[done..]);
        return ValueStatistics.Create(MathF.Min(min, rest.Range.Min), MathF.Max(max, rest.Range.Max), done - Vector.Sum(finite) + rest.NonFiniteCount);
    }

    public void Quantize(ReadOnlySpan<float> values, QuantizationParameters parameters, CodeRange codes, Span<sbyte> destination)
    {
        ref var source = ref MemoryMarshal.GetReference(values);
        ref var target = ref MemoryMarshal.GetReference(destination);
        var rounder = new Rounder(parameters, codes);
        var zeroPoint = new Vector<int>(parameters.ZeroPoint);
        var width = Vector<float>.Count;
        var done = 0;
        for (; done <= values.Length - (4 * width); done += 4 * width)
        {
            var first = Vector.Narrow(
                rounder.Steps(Vector.LoadUnsafe(ref source, (nuint)done)) + zeroPoint,
                rounder.Steps(Vector.LoadUnsafe(ref source, (nuint)(done + width))) + zeroPoint);
            var second = Vector.Narrow(
                rounder.Steps(Vector.LoadUnsafe(ref source, (nuint)(done + (2 * width)))) + zeroPoint,
                rounder.Steps(Vector.LoadUnsafe(ref source, (nuint)(done + (3 * width)))) + zeroPoint);
            Vector.Narrow(first, second).StoreUnsafe(ref target, (nuint)done);
        }

        ScalarKernel.Instance.Quantize(values[done..], parameters, codes, destination[done..]);
    }

    public void Dequantize(ReadOnlySpan<sbyte> codes, QuantizationParameters parameters, Span<float> destination)
    {
        ref var source = ref MemoryMarshal.GetReference(codes);
        ref var target = ref MemoryMarshal.GetReference(destination);
        var scale = new Vector<float>(parameters.Scale);
        var zeroPoint = new Vector<int>(parameters.ZeroPoint);
        var width = Vector<float>.Count;
        var done = 0;
        for (; done <= codes.Length - (4 * width); done += 4 * width)
        {
            Vector.Widen(Vector.LoadUnsafe(ref source, (nuint)done), out var low, out var high);
            Vector.Widen(low, out var first, out var second);
            Vector.Widen(high, out var third, out var fourth);
            (scale * Vector.ConvertToSingle(first - zeroPoint)).StoreUnsafe(ref target, (nuint)done);
            (scale * Vector.ConvertToSingle(second - zeroPoint)).StoreUnsafe(ref target, (nuint)(done + width));
            (scale * Vector.ConvertToSingle(third - zeroPoint)).StoreUnsafe(ref target, (nuint)(done + (2 * width)));
            (scale * Vector.ConvertToSingle(fourth - zeroPoint)).StoreUnsafe(ref target, (nuint)(done + (3 * width)));
        }

        ScalarKernel.Instance.Dequantize(codes[done..], parameters, destination[done..]);
    }

    public void FakeQuantize(ReadOnlySpan<float> values, QuantizationParameters parameters, CodeRange codes, Span<float> destination)
    {
        ref var source = ref MemoryMarshal.GetReference(values);
        ref var target = ref MemoryMarshal.GetReference(destination);
        var rounder = new Rounder(parameters, codes);
        var width = Vector<float>.Count;
        var done = 0;
        for (; done <= values.Length - width; done += width)
        {
            rounder.FakeQuantize(Vector.LoadUnsafe(ref source, (nuint)done)).StoreUnsafe(ref target, (nuint)done);
        }

        ScalarKernel.Instance.FakeQuantize(values[done..], parameters, codes, destination[done..]);
    }

    public void FakeQuantize(ReadOnlySpan<float> values, TrainingGrid grid, Span<float> destination)
    {
        ref var source = ref MemoryMarshal.GetReference(values);
        ref var target = ref MemoryMarshal.GetReference(destination);
        var rounder = new GridRounder(grid);
        var width = Vector<float>.Count;
        var done = 0;
        for (; done <= values.Length - width; done += width)
        {
            rounder.FakeQuantize(Vector.LoadUnsafe(ref source, (nuint)done)).StoreUnsafe(ref target, (nuint)done);
        }

        ScalarKernel.Instance.FakeQuantize(values[done..], grid, destination[done..]);
    }

    public GridGradient Backward(ReadOnlySpan<float> values, ReadOnlySpan<float> gradients, TrainingGrid grid, Span<float> destination)
    {
        ref var source = ref MemoryMarshal.GetReference(values);
        ref var given = ref MemoryMarshal.GetReference(gradients);
        ref var target = ref MemoryMarshal.GetReference(destination);
        var rounder = new GridRounder(grid);
        var width = Vector<float>.Count;
        var writes = !destination.IsEmpty;
        var sums = default(GridGradientSums);
        ref var scaleLane = ref MemoryMarshal.GetReference<double>(sums.Scale);
        ref var outsideLane = ref MemoryMarshal.GetReference<double>(sums.Outside);
        var block = Math.Max(width, LaneSums.Count);
        var done = 0;
        for (; done <= values.Length - block; done += block)
        {
            for (var i = 0; i < block; i += width)
            {
                var gradient = Vector.LoadUnsafe(ref given, (nuint)(done + i));
                var (inside, residual) = rounder.Backward(Vector.LoadUnsafe(ref source, (nuint)(done + i)));
                if (writes)
                {
                    Vector.ConditionalSelect(inside, gradient, Vector<float>.Zero).StoreUnsafe(ref target, (nuint)(done + i));
                }

                Vector.Widen(gradient, out var low, out var high);
                Vector.Widen(residual, out var lowResidual, out var highResidual);
                Vector.Widen(Vector.ConditionalSelect(inside, Vector<float>.Zero, gradient), out var lowOutside, out var highOutside);
                var lowLane = (nuint)(i % LaneSums.Count);
                (Vector.LoadUnsafe(ref scaleLane, lowLane) + (low * lowResidual)).StoreUnsafe(ref scaleLane, lowLane);
                (Vector.LoadUnsafe(ref outsideLane, lowLane) + lowOutside).StoreUnsafe(ref outsideLane, lowLane);
                var highLane = (nuint)((i + (width / 2)) % LaneSums.Count);
                (Vector.LoadUnsafe(ref scaleLane, highLane) + (high * highResidual)).StoreUnsafe(ref scaleLane, highLane);
                (Vector.LoadUnsafe(ref outsideLane, highLane) + highOutside).StoreUnsafe(ref outsideLane, highLane);
            }
        }

        sums.AddRest(values, gradients, done, grid, destination);
        return sums.Total();
    }

    public double SquaredError(ReadOnlySpan<float> values, QuantizationParameters parameters, CodeRange codes)
    {
        ref var source = ref MemoryMarshal.GetReference(values);
        var rounder = new Rounder(parameters, codes);
        var width = Vector<float>.Count;
        var sums = default(LaneSums);
        Span<double> lanes = sums;
        ref var lane = ref MemoryMarshal.GetReference(lanes);
        var block = Math.Max(width, LaneSums.Count);
        var done = 0;
        for (; done <= values.Length - block; done += block)
        {
            for (var i = 0; i < block; i += width)
            {
                var value = Vector.LoadUnsafe(ref source, (nuint)(done + i));
                Vector.Widen(value - rounder.FakeQuantize(value), out var low, out var high);
                var lowLane = (nuint)(i % LaneSums.Count);
                (Vector.LoadUnsafe(ref lane, lowLane) + (low * low)).StoreUnsafe(ref lane, lowLane);
                var highLane = (nuint)((i + (width / 2)) % LaneSums.Count);
                (Vector.LoadUnsafe(ref lane, highLane) + (high * high)).StoreUnsafe(ref lane, highLane);
            }
        }

        sums.AddRest(values, done, parameters, codes);
        return sums.Total();
    }

    public double WeightedSquaredError(ReadOnlySpan<float> values, ReadOnlySpan<float> importance, QuantizationParameters parameters, CodeRange codes)
    {
        ref var source = ref MemoryMarshal.GetReference(values);
        ref var weights = ref MemoryMarshal.GetReference(importance);
        var rounder = new Rounder(parameters, codes);
        var width = Vector<float>.Count;
        var sums = default(LaneSums);
        Span<double> lanes = sums;
        ref var lane = ref MemoryMarshal.GetReference(lanes);
        var block = Math.Max(width, LaneSums.Count);
        var done = 0;
        for (; done <= values.Length - block; done += block)
        {
            for (var i = 0; i < block; i += width)
            {
                var value = Vector.LoadUnsafe(ref source, (nuint)(done + i));
                Vector.Widen(value - rounder.FakeQuantize(value), out var low, out var high);
                Vector.Widen(Vector.LoadUnsafe(ref weights, (nuint)(done + i)), out var lowWeight, out var highWeight);
                var lowLane = (nuint)(i % LaneSums.Count);
                (Vector.LoadUnsafe(ref lane, lowLane) + (lowWeight * (low * low))).StoreUnsafe(ref lane, lowLane);
                var highLane = (nuint)((i + (width / 2)) % LaneSums.Count);
                (Vector.LoadUnsafe(ref lane, highLane) + (highWeight * (high * high))).StoreUnsafe(ref lane, highLane);
            }
        }

        sums.AddRest(values, importance, done, parameters, codes);
        return sums.Total();
    }

    public void Pack(ReadOnlySpan<sbyte> codes, int bits, Span<byte> destination) => WordPacking.Pack(codes, bits, destination);

    public void Unpack(ReadOnlySpan<byte> packed, int bits, Span<sbyte> codes) => WordPacking.Unpack(packed, bits, codes);

    /// <summary>Rounds values to steps away from the zero point.</summary>
    private readonly ref struct Rounder(QuantizationParameters parameters, CodeRange codes)
    {
        private readonly Vector<float> scale = new(parameters.Scale);
        private readonly Vector<float> lowest = new(codes.Min - parameters.ZeroPoint);
        private readonly Vector<float> highest = new(codes.Max - parameters.ZeroPoint);

        // Clamping to whole numbers first does not change the result. The conversion to integers then cannot overflow.
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public Vector<int> Steps(Vector<float> values)
        {
            var steps = values / scale;
            steps = Vector.ConditionalSelect(Vector.Equals(steps, steps), steps, Vector<float>.Zero);
            steps = Vector.MinNative(Vector.MaxNative(steps, lowest), highest);
            return Vector.ConvertToInt32Native(Vector.Round(steps, MidpointRounding.ToEven));
        }

        // Goes through integers, so that zero has no sign, as in the specification.
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public Vector<float> FakeQuantize(Vector<float> values) => scale * Vector.ConvertToSingle(Steps(values));
    }

    /// <summary><see cref="TrainingGrid"/>, one vector at a time.</summary>
    private readonly ref struct GridRounder(TrainingGrid grid)
    {
        private readonly Vector<float> scale = new(grid.Scale);
        private readonly Vector<float> lowest = new(grid.Lowest);
        private readonly Vector<float> highest = new(grid.Highest);
        private readonly Vector<float> shift = new(grid.Shift);
        private readonly bool stretched = grid.Shift != 0;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public Vector<float> FakeQuantize(Vector<float> values) => scale * (Clamp(Round(values / scale)) + shift);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public (Vector<int> Inside, Vector<float> Residual) Backward(Vector<float> values)
        {
            var steps = values / scale;
            var step = Round(steps);
            var inside = Vector.GreaterThanOrEqual(step, lowest) & Vector.LessThanOrEqual(step, highest);
            return (inside, Clamp(step) + shift - Vector.ConditionalSelect(inside, steps, Vector<float>.Zero));
        }

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        private Vector<float> Round(Vector<float> steps) => stretched ? Vector.Floor(steps) : Vector.Round(steps, MidpointRounding.ToEven);

        // Uses comparisons, which are false for NaN. Minimum and maximum treat NaN differently on different machines.
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        private Vector<float> Clamp(Vector<float> step)
        {
            step = Vector.ConditionalSelect(Vector.LessThan(step, lowest), lowest, step);
            return Vector.ConditionalSelect(Vector.GreaterThan(step, highest), highest, step);
        }
    }
}
