using Nibble.Numerics;
using Nibble.Recipes;

namespace Nibble.Onnx.Quantization.Weights;

/// <summary>Options of <see cref="WeightOnlyQuantizer"/>.</summary>
internal sealed record WeightOnlyOptions
{
    /// <summary>The bit width of codes: 2, 4 or 8. Default: 4.</summary>
    public int Bits { get; init; } = 4;

    /// <summary>The number of consecutive inputs that share a scale: a power of two from 16 to 256. Default: 32.</summary>
    public int BlockSize { get; init; } = 32;

    /// <summary>Whether codes have no zero points. Default: false.</summary>
    public bool Symmetric { get; init; }

    /// <summary>How codes are chosen. Round to nearest uses the range with the least squared error. Default: round to nearest.</summary>
    public WeightRounding Algorithm { get; init; } = WeightRounding.RoundToNearest;

    /// <summary>
    /// GPTQ and importance weighting: gives the Hessian <c>2/n X^T X</c> of a value over its n rows X, or null if the value was not calibrated. Default: null.
    /// </summary>
    public Func<string, SquareMatrix?>? Hessian { get; init; }

    /// <summary>
    /// The arithmetic. Default: bytes, which round inputs in blocks to 8 bits. ONNX Runtime 1.31 has no kernel in float32 for 2 and 8 bits: it makes the whole
    /// matrix float in each run. At 4 bits, float32 is slower for a few rows and faster for hundreds.
    /// </summary>
    public MatMulAccuracy Accuracy { get; init; } = MatMulAccuracy.Int8;

    /// <summary>Whether the weights of convolutions are stored in bytes. They are computed in float32. Default: false.</summary>
    public bool StoreConvolutions { get; init; }

    /// <summary>GPTQ: the number of threads, at least 1. The result does not depend on it. Default: null, one per core.</summary>
    public int? Threads { get; init; }
}
