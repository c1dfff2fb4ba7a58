#pragma warning disable RS0030 // This class is what the other code uses instead of TorchSharp's operators.
using System.Runtime.CompilerServices;
using TorchSharp;
using static TorchSharp.torch;

namespace Nibble.Torch.Native;

/// <summary>Arithmetic of tensors and numbers that is safe while other threads collect garbage. Values, types and gradients are those of TorchSharp.</summary>
/// <remarks>
/// TorchSharp wraps numbers in objects with a finalizer (<see cref="Scalar"/>), even the hidden factor 1 of <c>a + b</c>, and nothing references such an object
/// once its handle has been read. A garbage collection at that moment frees it while libtorch uses it: the call fails or computes with another number. Here,
/// numbers live until libtorch returns. <c>BannedSymbols.txt</c> lists what of TorchSharp the rest of this project must not call.
/// </remarks>
internal static class TensorArithmetic
{
    // Held for good, so they need no care.
    private static readonly Scalar One = 1;
    private static readonly Scalar Two = 2;

    /// <summary>A tensor [rows, columns] of one value on the CPU, float32.</summary>
    public static Tensor Filled(long rows, long columns, float value)
    {
        using Scalar number = value;
        return full(rows, columns, number, float32);
    }

    /// <summary><c>x + y</c>.</summary>
    public static Tensor Plus(this Tensor x, Tensor y) => x.add(y, One);

    /// <summary><c>x + y</c>.</summary>
    // TorchSharp converts numbers to tensors implicitly, which would make the call ambiguous.
    [OverloadResolutionPriority(1)]
    public static Tensor Plus(this Tensor x, Number y)
    {
        using var number = y.ToScalar();
        return x.add(number, One);
    }

    /// <summary><c>x - y</c>. The difference of two tensors needs no number: use the operator.</summary>
    public static Tensor Minus(this Tensor x, Number y)
    {
        using var number = y.ToScalar();
        return x.sub(number);
    }

    /// <summary><c>y - x</c>.</summary>
    public static Tensor SubtractedFrom(this Tensor x, Number y)
    {
        using var negative = x.neg();
        return negative.Plus(y);
    }

    /// <summary><c>x * y</c>. The product of two tensors needs no number: use the operator.</summary>
    public static Tensor Times(this Tensor x, Number y)
    {
        using var number = y.ToScalar();
        return x.mul(number);
    }

    /// <summary><c>x / y</c>. The quotient of two tensors needs no number: use the operator.</summary>
    public static Tensor DividedBy(this Tensor x, Number y)
    {
        using var number = y.ToScalar();
        return x.div(number);
    }

    /// <summary>The square of each value.</summary>
    public static Tensor Square(this Tensor x) => x.pow(Two);

    /// <summary>Each value to the power of <paramref name="exponent"/>.</summary>
    public static Tensor Power(this Tensor x, Number exponent)
    {
        using var number = exponent.ToScalar();
        return x.pow(number);
    }

    /// <summary>The values, limited to a range.</summary>
    public static Tensor Clamp(this Tensor x, Number min, Number max)
    {
        using var lowest = min.ToScalar();
        using var highest = max.ToScalar();
        return x.clamp(lowest, highest);
    }

    /// <summary>The values, none below <paramref name="min"/>.</summary>
    public static Tensor ClampMin(this Tensor x, Number min)
    {
        using var lowest = min.ToScalar();
        return x.clamp_min(lowest);
    }

    /// <summary>The values, none above <paramref name="max"/>.</summary>
    public static Tensor ClampMax(this Tensor x, Number max)
    {
        using var highest = max.ToScalar();
        return x.clamp_max(highest);
    }

    /// <summary>The values, with <paramref name="value"/> where <paramref name="mask"/> is true.</summary>
    public static Tensor MaskedFill(this Tensor x, Tensor mask, Number value)
    {
        using var number = value.ToScalar();
        return x.masked_fill(mask, number);
    }

    /// <summary>Whether each value equals <paramref name="y"/>.</summary>
    public static Tensor EqualTo(this Tensor x, Number y)
    {
        using var number = y.ToScalar();
        return x.eq(number);
    }

    /// <summary>Whether each value is greater than <paramref name="y"/>.</summary>
    public static Tensor GreaterThan(this Tensor x, Number y)
    {
        using var number = y.ToScalar();
        return x.gt(number);
    }

    /// <summary>Whether each value is at most <paramref name="y"/>.</summary>
    public static Tensor AtMost(this Tensor x, Number y)
    {
        using var number = y.ToScalar();
        return x.le(number);
    }

    /// <summary>Adds <paramref name="y"/> to <paramref name="x"/> in place.</summary>
    public static Tensor AddInPlace(this Tensor x, Tensor y) => x.add_(y, One);

    /// <summary>Adds <paramref name="y"/> times <paramref name="factor"/> to <paramref name="x"/> in place.</summary>
    public static Tensor AddInPlace(this Tensor x, Tensor y, Number factor)
    {
        using var number = factor.ToScalar();
        return x.add_(y, number);
    }

    /// <summary>Adds <paramref name="y"/> to <paramref name="x"/> in place.</summary>
    [OverloadResolutionPriority(1)]
    public static Tensor AddInPlace(this Tensor x, Number y)
    {
        using var number = y.ToScalar();
        return x.add_(number, One);
    }

    /// <summary>Adds the product of two tensors, times <paramref name="factor"/>, to <paramref name="x"/> in place.</summary>
    public static Tensor AddProductInPlace(this Tensor x, Tensor left, Tensor right, Number factor)
    {
        using var number = factor.ToScalar();
        return x.addcmul_(left, right, number);
    }

    /// <summary>Divides <paramref name="x"/> by <paramref name="y"/> in place.</summary>
    public static Tensor DivideInPlace(this Tensor x, Number y)
    {
        using var number = y.ToScalar();
        return x.div_(number);
    }

    /// <summary>Limits <paramref name="x"/> to a range in place.</summary>
    public static Tensor ClampInPlace(this Tensor x, Number min, Number max)
    {
        using var lowest = min.ToScalar();
        using var highest = max.ToScalar();
        return x.clamp_(lowest, highest);
    }

    /// <summary>Sets all values of <paramref name="x"/> to <paramref name="value"/>.</summary>
    public static Tensor Fill(this Tensor x, Number value)
    {
        using var number = value.ToScalar();
        return x.fill_(number);
    }
}
