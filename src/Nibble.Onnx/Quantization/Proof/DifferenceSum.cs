using Microsoft.ML.OnnxRuntime;
using Microsoft.ML.OnnxRuntime.Tensors;
using System.Numerics.Tensors;

namespace Nibble.Onnx.Quantization.Proof;

/// <summary>Adds up the difference of one value over samples.</summary>
internal sealed class DifferenceSum(string name)
{
    private double signal;
    private double noise;
    private double largest;
    private long same;
    private long compared;
    private long nonFinite;
    private bool isFloat;

    /// <summary>Adds a sample.</summary>
    /// <param name="expected">The float graph's value.</param>
    /// <param name="found">The quantized graph's value.</param>
    /// <exception cref="NibbleException">The types or shapes differ.</exception>
    public void Add(DisposableNamedOnnxValue expected, DisposableNamedOnnxValue found)
    {
        if (expected.ElementType != found.ElementType || expected.ValueType != found.ValueType)
        {
            throw new NibbleException($"The value '{name}' is {expected.ElementType} in the float model, but {found.ElementType} in the quantized one.");
        }

        switch (expected.ElementType)
        {
            case TensorElementType.Float:
                isFloat = true;
                AddFloats(Dense<float>(expected), Dense<float>(found));
                break;
            case TensorElementType.Int64:
                AddOthers(Dense<long>(expected), Dense<long>(found));
                break;
            case TensorElementType.Int32:
                AddOthers(Dense<int>(expected), Dense<int>(found));
                break;
            case TensorElementType.Bool:
                AddOthers(Dense<bool>(expected), Dense<bool>(found));
                break;
            case TensorElementType.UInt8:
                AddOthers(Dense<byte>(expected), Dense<byte>(found));
                break;
            default:
                throw new NibbleException($"The output '{name}' is {expected.ElementType}, which cannot be compared; expected numbers or booleans.");
        }
    }

    /// <summary>The difference over all samples.</summary>
    public OutputDifference Result() => new(
        name,
        !isFloat ? null : noise == 0 ? double.PositiveInfinity : 10 * Math.Log10(signal / noise),
        isFloat ? largest : null,
        compared == 0 ? null : (double)same / compared,
        nonFinite);

    private static DenseTensor<T> Dense<T>(DisposableNamedOnnxValue value) => (DenseTensor<T>)value.AsTensor<T>();

    private void AddFloats(DenseTensor<float> expected, DenseTensor<float> found)
    {
        RequireSameSize(expected, found);
        ReadOnlySpan<float> x = expected.Buffer.Span;
        ReadOnlySpan<float> y = found.Buffer.Span;
        for (var i = 0; i < x.Length; i++)
        {
            if (float.IsFinite(x[i]))
            {
                nonFinite += float.IsFinite(y[i]) ? 0 : 1;
                var difference = (double)x[i] - y[i];
                signal += (double)x[i] * x[i];
                noise += difference * difference;
                largest = Math.Max(largest, Math.Abs(difference));
            }
        }

        var columns = expected.Dimensions.Length < 2 ? 0 : expected.Dimensions[^1];
        for (var start = 0; columns > 1 && start < x.Length; start += columns)
        {
            compared++;
            same += TensorPrimitives.IndexOfMax(x.Slice(start, columns))
                == TensorPrimitives.IndexOfMax(y.Slice(start, columns)) ? 1 : 0;
        }
    }

    private void AddOthers<T>(DenseTensor<T> expected, DenseTensor<T> found)
        where T : IEquatable<T>
    {
        RequireSameSize(expected, found);
        ReadOnlySpan<T> x = expected.Buffer.Span;
        ReadOnlySpan<T> y = found.Buffer.Span;
        for (var i = 0; i < x.Length; i++)
        {
            compared++;
            same += x[i].Equals(y[i]) ? 1 : 0;
        }
    }

    private void RequireSameSize<T>(DenseTensor<T> expected, DenseTensor<T> found)
    {
        if (!expected.Dimensions.SequenceEqual(found.Dimensions))
        {
            throw new NibbleException(
                $"The value '{name}' has the shape [{string.Join(", ", expected.Dimensions.ToArray())}] in the float model, but "
                + $"[{string.Join(", ", found.Dimensions.ToArray())}] in the quantized one.");
        }
    }
}
