using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;
using Nibble.Numerics;

namespace Nibble.Algorithms;

/// <summary>Half-quadratic quantization: chooses ranges that are robust to a few weights with large errors, without data.</summary>
/// <remarks>
/// Badri and Shaji, "Half-Quadratic Quantization of Large Machine Learning Models", 2023. The sum of <c>|error|^p</c> with p = 0.7 is split
/// in two, and each half is minimized in turn: the sparse part of the errors by generalized soft-thresholding, and the line through the
/// rest of the weights in closed form. The paper fixes the scale and moves a real zero point. Here zero points are codes, and
/// rounding would undo those moves, so the closed form solves for scale and zero point together, or only for the scale in symmetric schemes.
/// </remarks>
public static class Hqq
{
    /// <summary>The exponent p of the objective.</summary>
    private const float Norm = 0.7f;

    /// <summary>The weight of the quadratic half in the first iteration, for errors in steps of the min-max grid.</summary>
    private const float FirstBeta = 10;

    /// <summary>The factor that multiplies the weight after each iteration.</summary>
    private const float BetaGrowth = 1.01f;

    private const int Iterations = 20;

    /// <summary>Quantizes a weight matrix.</summary>
    /// <remarks>
    /// <para>Each group begins with the scale and the real zero point of min-max. At most 20 iterations follow, which end when the mean
    /// error grows. After each, the zero point is rounded, and its best scale is rounded to the stored precision. Of these candidates and
    /// min-max, the one with the least sum of <c>|weight - real|^0.7</c> is kept.</para>
    /// <para>Rows are processed in parallel. The result does not depend on the number of threads.</para>
    /// </remarks>
    /// <param name="weights">The weights, row by row: <paramref name="rows"/> x <paramref name="columns"/>, all finite.</param>
    /// <param name="rows">Output channels, at least 1.</param>
    /// <param name="columns">Input channels, at least 1.</param>
    /// <param name="scheme">The codes and which weights share a scale: per tensor, per channel or per group.</param>
    /// <exception cref="ArgumentException">The number of weights does not follow from the shape.</exception>
    /// <exception cref="NibbleException">A weight is not finite, the granularity is per token, or a scale does not fit its stored
    /// precision.</exception>
    public static QuantizedTensor Quantize(ReadOnlySpan<float> weights, int rows, int columns, QuantizationScheme scheme) =>
        BlockRounding.Quantize(weights, rows, columns, scheme, block => Solve(block.Values, block.Range, scheme));

    private static QuantizationParameters Solve(ReadOnlySpan<float> values, ValueRange range, QuantizationScheme scheme)
    {
        var codes = scheme.Codes;
        var best = QuantizationParameters.FromRange(range, scheme);
        var unit = best.Scale;
        var least = Objective(values, best, codes, unit);
        var scale = best.Scale;
        var zeroPoint = scheme.Symmetric ? 0 : codes.Min - (Math.Min(range.Min, 0) / scale);
        var lastError = double.PositiveInfinity;
        var beta = FirstBeta;
        for (var i = 0; i < Iterations; i++)
        {
            var (fit, error) = Iterate(values, scale, zeroPoint, codes, beta, unit);
            var line = scheme.Symmetric ? 0 : fit.ZeroPoint();
            if (error >= lastError || !double.IsFinite(line))
            {
                break;
            }

            var rounded = (int)Math.Clamp(Math.Round(line), codes.Min, codes.Max);
            if (QuantizationParameters.TryRoundScale(fit.Scale(rounded), scheme.ScalePrecision, out var stored))
            {
                var candidate = new QuantizationParameters(stored, rounded);
                var objective = Objective(values, candidate, codes, unit);
                (best, least) = objective < least ? (candidate, objective) : (best, least);
            }

            if (!QuantizationParameters.TryRoundScale(fit.Scale(line), ScalePrecision.Float32, out scale))
            {
                break;
            }

            zeroPoint = (float)line;
            lastError = error;
            beta *= BetaGrowth;
        }

        return best;
    }

    /// <summary>Both halves of an iteration: splits the errors and sums the line through the rest. Also returns the summed magnitude of the
    /// errors.</summary>
    private static (LinearFit Fit, double Error) Iterate(ReadOnlySpan<float> values, float scale, float zeroPoint, CodeRange codes, float beta, float unit)
    {
        var (lowest, highest) = (Vector256.Create((float)codes.Min), Vector256.Create((float)codes.Max));
        var (codeSum, squareSum, valueSum, productSum, errorSum) = (default(Sum), default(Sum), default(Sum), default(Sum), default(Sum));
        for (var done = 0; done < values.Length; done += Vector256<float>.Count)
        {
            var (value, present) = Load(values, done);
            var code = Vector256.Min(Vector256.Max(Vector256.Round((value / scale) + Vector256.Create(zeroPoint)), lowest), highest);
            var error = value - (scale * (code - Vector256.Create(zeroPoint)));
            var size = Vector256.Abs(error) / unit;
            // If the error is zero, the power is infinite and the sparse part is zero.
            var sparse = Vector256.Max(size - (Power(size, Norm - 1) / beta), Vector256<float>.Zero) * unit;
            var rest = (value - Vector256.CopySign(sparse, error)) & present;
            code &= present;
            codeSum.Add(code);
            squareSum.Add(code * code);
            valueSum.Add(rest);
            productSum.Add(code * rest);
            errorSum.Add(size & present);
        }

        return (new LinearFit(values.Length, codeSum.Total(), squareSum.Total(), valueSum.Total(), productSum.Total()), errorSum.Total());
    }

    /// <summary>The sum of <c>(|weight - real| / unit)^p</c>.</summary>
    private static double Objective(ReadOnlySpan<float> values, QuantizationParameters parameters, CodeRange codes, float unit)
    {
        var lowest = Vector256.Create((float)(codes.Min - parameters.ZeroPoint));
        var highest = Vector256.Create((float)(codes.Max - parameters.ZeroPoint));
        var sum = default(Sum);
        for (var done = 0; done < values.Length; done += Vector256<float>.Count)
        {
            var (value, present) = Load(values, done);
            var steps = Vector256.Min(Vector256.Max(Vector256.Round(value / parameters.Scale), lowest), highest);
            sum.Add(Power(Vector256.Abs(value - (parameters.Scale * steps)) / unit, Norm) & present);
        }

        return sum.Total();
    }

    /// <summary>Eight values, padded with zeros, and a mask with all bits set where there is a value.</summary>
    private static (Vector256<float> Values, Vector256<float> Present) Load(ReadOnlySpan<float> values, int start)
    {
        if (start + Vector256<float>.Count <= values.Length)
        {
            return (Vector256.LoadUnsafe(ref MemoryMarshal.GetReference(values), (nuint)start), Vector256<float>.AllBitsSet);
        }

        Span<float> rest = stackalloc float[Vector256<float>.Count];
        rest.Clear();
        values[start..].CopyTo(rest);
        return (Vector256.Create<float>(rest), Vector256.LessThan(Vector256<int>.Indices, Vector256.Create(values.Length - start)).AsSingle());
    }

    private static Vector256<float> Power(Vector256<float> values, float exponent) => Vector256.Exp(Vector256.Log(values) * exponent);

    /// <summary>A sum in binary64, in an order that depends only on the number of values.</summary>
    private struct Sum
    {
        private Vector256<double> lanes;

        public void Add(Vector256<float> values)
        {
            var (low, high) = Vector256.Widen(values);
            lanes += low + high;
        }

        public readonly double Total() => Vector256.Sum(lanes);
    }
}
