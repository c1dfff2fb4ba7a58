#pragma warning disable RS0030 // This type is the one place that makes TorchSharp's scalars, and who asks for one disposes it after use.
using TorchSharp;

namespace Nibble.Torch.Native;

/// <summary>A number that tensors are combined with (<see cref="TensorArithmetic"/>).</summary>
/// <remarks>A whole number keeps tensors of whole numbers whole. A floating-point number makes them floating-point, as in TorchSharp.</remarks>
internal readonly struct Number
{
    private readonly bool isWhole;
    private readonly long whole;
    private readonly double real;

    private Number(long value) => (isWhole, whole) = (true, value);

    private Number(double value) => real = value;

    public static implicit operator Number(long value) => new(value);

    /// <summary>For <see cref="float"/> too: libtorch's scalars hold it as a <see cref="double"/>.</summary>
    public static implicit operator Number(double value) => new(value);

    /// <summary>The number for libtorch. The caller disposes it after the call that uses it, which keeps it alive until then.</summary>
    public Scalar ToScalar() => isWhole ? whole.ToScalar() : real.ToScalar();
}
