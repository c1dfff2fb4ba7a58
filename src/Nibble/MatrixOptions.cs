using Microsoft.Extensions.Logging;
using Nibble.Numerics;
using Nibble.Recipes;

namespace Nibble;

/// <summary>Options of <see cref="Quantize.Matrix"/>.</summary>
public sealed record MatrixOptions
{
    /// <summary>
    /// How codes are chosen. GPTQ and importance weighting need <see cref="Inputs"/> or <see cref="Hessian"/>. Default: round to nearest.
    /// </summary>
    public WeightRounding Algorithm { get; init; } = WeightRounding.RoundToNearest;

    /// <summary>
    /// How the range of a group is chosen, for round to nearest and GPTQ. Default: null, which takes the range that suits the algorithm: from the lowest to the
    /// highest weight for round to nearest, a search for GPTQ.
    /// </summary>
    public WeightRange? Range { get; init; }

    /// <summary>
    /// The layer's inputs to calibrate on, row by row: tokens x columns, all finite. Cannot be combined with <see cref="Hessian"/>. Default: empty.
    /// </summary>
    public ReadOnlyMemory<float> Inputs { get; init; }

    /// <summary>
    /// The Hessian of the layer's squared output error, <c>2/n X^T X</c> over the n tokens of its inputs X, with a row and a column for each column of the
    /// matrix. It is not changed. Cannot be combined with <see cref="Inputs"/>. Default: null.
    /// </summary>
    public SquareMatrix? Hessian { get; init; }

    /// <summary>GPTQ: what is added to the Hessian's diagonal, as a share of its mean, 0 to 1. Default: 0.01.</summary>
    public double Dampening { get; init; } = 0.01;

    /// <summary>GPTQ: the order of the columns. Default: by falling diagonal of the Hessian, with neighbouring columns in each group.</summary>
    public ActivationOrder ActivationOrder { get; init; } = ActivationOrder.Weight;

    /// <summary>GPTQ: the number of threads, at least 1. The result does not depend on it. Default: null, one per core.</summary>
    public int? Threads { get; init; }

    /// <summary>Receives warnings, which do not stop the work. Default: null.</summary>
    public ILogger? Logger { get; init; }
}
