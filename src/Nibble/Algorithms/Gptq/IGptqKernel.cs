using Nibble.Numerics;

namespace Nibble.Algorithms;

/// <summary>The inner loops of GPTQ on panels of <see cref="Rows"/> rows of the weight, implemented once per instruction set.</summary>
/// <remarks>
/// A panel holds one value of each row side by side, column after column. All kernels do the same operations in the same order, including fused
/// multiply-adds, so that their results are equal bit for bit.
/// </remarks>
internal unsafe interface IGptqKernel
{
    /// <summary>Rows in a panel. With tiles of four columns, twelve vectors of sums fill the registers of AVX2.</summary>
    public const int Rows = 24;

    /// <summary>The name used in <c>NIBBLE_KERNEL</c>.</summary>
    string Name { get; }

    /// <summary><c>sums[j] += R[k, j] * changes[k]</c> for the columns j of some tiles, with k rising and each product fused into the sum.</summary>
    /// <param name="tiles">The first of all tiles (<see cref="PackedFactor"/>).</param>
    /// <param name="first">The first tile to add to.</param>
    /// <param name="end">The tile after the last.</param>
    /// <param name="from">The first k.</param>
    /// <param name="to">The k after the last, at most the number of columns up to the end of the first tile.</param>
    /// <param name="changes">The panel of column 0.</param>
    /// <param name="sums">The panel of the first tile's first column.</param>
    void Accumulate(float* tiles, int first, int end, int from, int to, float* changes, float* sums);

    /// <summary>Quantizes one column.</summary>
    /// <param name="column">The column's memory.</param>
    /// <param name="codes">The codes to use.</param>
    void Quantize(in GptqColumn column, CodeRange codes);
}

/// <summary>One column of a panel.</summary>
internal readonly unsafe struct GptqColumn(
    float* weights, float* sums, float diagonal, float inverseDiagonal, float* scales, int* zeroPoints, sbyte* codes, float* losses)
{
    /// <summary>In: the original weights. Out: the original weights minus their quantized values.</summary>
    public float* Weights => weights;

    /// <summary>The summed contribution of the errors of the columns before.</summary>
    public float* Sums => sums;

    /// <summary>The element of R's diagonal.</summary>
    public float Diagonal => diagonal;

    /// <summary>The reciprocal of <see cref="Diagonal"/>.</summary>
    public float InverseDiagonal => inverseDiagonal;

    /// <summary>The scales of the rows.</summary>
    public float* Scales => scales;

    /// <summary>The zero points of the rows.</summary>
    public int* ZeroPoints => zeroPoints;

    /// <summary>Receives the codes.</summary>
    public sbyte* Codes => codes;

    /// <summary>The losses, to which the squared errors are added.</summary>
    public float* Losses => losses;
}
