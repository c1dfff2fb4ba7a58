using Microsoft.Extensions.Logging;
using Nibble.Numerics;
using Nibble.Recipes;

namespace Nibble;

/// <summary>How <see cref="Quantize.Matrix"/> works.</summary>
public sealed record MatrixOptions
{
    /// <summary>
    /// How codes are chosen; round to nearest when not given. GPTQ and importance weighting need <see cref="Inputs"/> or <see cref="Hessian"/>.
    /// </summary>
    public WeightRounding Algorithm { get; init; } = WeightRounding.RoundToNearest;

    /// <summary>
    /// How the range of a group is chosen, for round to nearest and GPTQ; null, the default, takes what suits the algorithm: the lowest to the highest
    /// weight for round to nearest, a search for GPTQ.
    /// </summary>
    public WeightRange? Range { get; init; }

    /// <summary>
    /// Inputs of the layer to calibrate on, row by row: tokens x columns, all finite; empty, the default, for none. Not beside <see cref="Hessian"/>.
    /// </summary>
    public ReadOnlyMemory<float> Inputs { get; init; }

    /// <summary>
    /// The Hessian of the layer's squared output error, <c>2/n X^T X</c> over the n tokens of its inputs X: a row and a column for each column of the matrix.
    /// It is not changed. Null, the default, for none. Not beside <see cref="Inputs"/>.
    /// </summary>
    public SquareMatrix? Hessian { get; init; }

    /// <summary>GPTQ: what is added to the Hessian's diagonal, as a share of its mean, 0 to 1; 0.01 when not given.</summary>
    public double Dampening { get; init; } = 0.01;

    /// <summary>GPTQ: the order of the columns; by falling diagonal of the Hessian, in groups of neighbours, when not given.</summary>
    public ActivationOrder ActivationOrder { get; init; } = ActivationOrder.Weight;

    /// <summary>GPTQ: how many threads work, at least 1; null, the default, is one a core. The result does not depend on it.</summary>
    public int? Threads { get; init; }

    /// <summary>Told what the user should know although the work goes on; null, the default, for nobody.</summary>
    public ILogger? Logger { get; init; }
}
