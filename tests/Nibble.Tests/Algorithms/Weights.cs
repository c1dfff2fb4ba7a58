using Nibble.Tests.Numerics.Kernels;
using Nibble.Numerics;

namespace Nibble.Tests.Algorithms;

/// <summary>Weight matrices and what belongs together in them.</summary>
internal static class Weights
{
    private static readonly Gen<Granularity> Granularities = Gen.OneOf(
        Gen.Const(Granularity.Tensor),
        Gen.Const(Granularity.Channel),
        Gen.Int[1, 40].Select(Granularity.Group));

    /// <summary>All widths, symmetries, granularities and precisions.</summary>
    public static Gen<QuantizationScheme> Scheme { get; } =
        from scheme in Gens.Scheme
        from granularity in Granularities
        from precision in Gen.Enum<ScalePrecision>()
        let placed = scheme.Format == CodeFormat.Ternary
            ? QuantizationScheme.CreateTernary(granularity)
            : new QuantizationScheme(scheme.Bits, scheme.Symmetric, granularity)
        select placed with { ScalePrecision = precision };

    /// <summary>Small matrices of ordinary weights.</summary>
    public static Gen<(float[] Weights, int Rows, int Columns)> Matrix { get; } =
        from rows in Gen.Int[1, 6]
        from columns in Gen.Int[1, 70]
        from weights in Gens.Finite.Array[rows * columns]
        select (weights, rows, columns);

    /// <summary>The indices of the weights that share parameters with one of them.</summary>
    public static IEnumerable<int> Members(QuantizationScheme scheme, int rows, int columns, int row, int column) => scheme.Granularity switch
    {
        PerTensor => Enumerable.Range(0, rows * columns),
        PerGroup group => Enumerable.Range(0, columns).Where(c => c / group.Size == column / group.Size).Select(c => (row * columns) + c),
        _ => Enumerable.Range(row * columns, columns),
    };
}
