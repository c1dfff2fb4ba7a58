using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using Nibble.Numerics;

namespace Nibble.Algorithms;

/// <summary>The kernel for 256-bit vectors of x86: twelve sums in registers, three loads and four broadcasts for twelve multiply-adds.</summary>
internal sealed unsafe class Avx2GptqKernel : IGptqKernel
{
    private const int Width = 8;

    public string Name => "avx2";

    // Fully optimized from the first call: a layer is finished before tiered compilation would react.
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public void Accumulate(float* tiles, int first, int end, int from, int to, float* changes, float* sums)
    {
        var length = to - from;
        changes += (long)from * IGptqKernel.Rows;
        for (var tile = first; tile < end; tile++, sums += PackedFactor.Width * IGptqKernel.Rows)
        {
            var factor = tiles + PackedFactor.TileOffset(tile) + ((long)from * PackedFactor.Width);
            var change = changes;
            var stop = factor + ((long)length * PackedFactor.Width);
            var sum00 = Vector256.Load(sums);
            var sum01 = Vector256.Load(sums + 8);
            var sum02 = Vector256.Load(sums + 16);
            var sum10 = Vector256.Load(sums + 24);
            var sum11 = Vector256.Load(sums + 32);
            var sum12 = Vector256.Load(sums + 40);
            var sum20 = Vector256.Load(sums + 48);
            var sum21 = Vector256.Load(sums + 56);
            var sum22 = Vector256.Load(sums + 64);
            var sum30 = Vector256.Load(sums + 72);
            var sum31 = Vector256.Load(sums + 80);
            var sum32 = Vector256.Load(sums + 88);
            while (factor < stop)
            {
                var change0 = Vector256.Load(change);
                var change1 = Vector256.Load(change + 8);
                var change2 = Vector256.Load(change + 16);
                var scale = Avx.BroadcastScalarToVector256(factor);
                sum00 = Fma.MultiplyAdd(scale, change0, sum00);
                sum01 = Fma.MultiplyAdd(scale, change1, sum01);
                sum02 = Fma.MultiplyAdd(scale, change2, sum02);
                scale = Avx.BroadcastScalarToVector256(factor + 1);
                sum10 = Fma.MultiplyAdd(scale, change0, sum10);
                sum11 = Fma.MultiplyAdd(scale, change1, sum11);
                sum12 = Fma.MultiplyAdd(scale, change2, sum12);
                scale = Avx.BroadcastScalarToVector256(factor + 2);
                sum20 = Fma.MultiplyAdd(scale, change0, sum20);
                sum21 = Fma.MultiplyAdd(scale, change1, sum21);
                sum22 = Fma.MultiplyAdd(scale, change2, sum22);
                scale = Avx.BroadcastScalarToVector256(factor + 3);
                sum30 = Fma.MultiplyAdd(scale, change0, sum30);
                sum31 = Fma.MultiplyAdd(scale, change1, sum31);
                sum32 = Fma.MultiplyAdd(scale, change2, sum32);
                factor += PackedFactor.Width;
                change += IGptqKernel.Rows;
            }

            sum00.Store(sums);
            sum01.Store(sums + 8);
            sum02.Store(sums + 16);
            sum10.Store(sums + 24);
            sum11.Store(sums + 32);
            sum12.Store(sums + 40);
            sum20.Store(sums + 48);
            sum21.Store(sums + 56);
            sum22.Store(sums + 64);
            sum30.Store(sums + 72);
            sum31.Store(sums + 80);
            sum32.Store(sums + 88);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public void Quantize(in GptqColumn column, CodeRange codes)
    {
        var lowest = Vector256.Create(codes.Min);
        var highest = Vector256.Create(codes.Max);
        var inverse = Vector256.Create(column.InverseDiagonal);
        var diagonal = Vector256.Create(column.Diagonal);
        for (var row = 0; row < IGptqKernel.Rows; row += Width)
        {
            var scale = Vector256.Load(column.Scales + row);
            var zeroPoint = Vector256.Load(column.ZeroPoints + row);
            var original = Vector256.Load(column.Weights + row);
            var weight = Fma.MultiplyAdd(Vector256.Load(column.Sums + row), inverse, original);

            // As in the quantization kernels: NaN becomes the zero point, and values are clamped before the conversion, which rounds half to even.
            var steps = weight / scale;
            steps = Avx.And(steps, Avx.CompareOrdered(steps, steps));
            steps = Avx.Max(steps, Avx.ConvertToVector256Single(lowest - zeroPoint));
            steps = Avx.Min(steps, Avx.ConvertToVector256Single(highest - zeroPoint));
            var rounded = Avx.ConvertToVector256Int32(steps);
            var value = scale * Avx.ConvertToVector256Single(rounded);

            var code = rounded + zeroPoint;
            var words = Sse2.PackSignedSaturate(code.GetLower(), code.GetUpper());
            Sse2.PackSignedSaturate(words, words).GetLower().Store(column.Codes + row);
            (original - value).Store(column.Weights + row);
            var error = (weight - value) * diagonal;
            Fma.MultiplyAdd(error, error, Vector256.Load(column.Losses + row)).Store(column.Losses + row);
        }
    }
}
