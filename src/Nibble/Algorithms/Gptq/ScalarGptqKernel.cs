using Nibble.Numerics;

namespace Nibble.Algorithms;

/// <summary>The kernel that works on one value at a time. It is the specification of the other kernels.</summary>
internal sealed unsafe class ScalarGptqKernel : IGptqKernel
{
    public string Name => "scalar";

    public void Accumulate(float* tiles, int first, int end, int from, int to, float* changes, float* sums) =>
        AccumulateRows(tiles, first, end, from, to, changes, sums, 0);

    public void Quantize(in GptqColumn column, CodeRange codes) => QuantizeRows(column, codes, 0);

    /// <summary>Accumulates the rows from <paramref name="firstRow"/> on. The other kernels use it for the remaining rows.</summary>
    internal static void AccumulateRows(float* tiles, int first, int end, int from, int to, float* changes, float* sums, int firstRow)
    {
        for (var tile = first; tile < end; tile++)
        {
            var factor = tiles + PackedFactor.TileOffset(tile);
            for (var column = 0; column < PackedFactor.Width; column++, sums += IGptqKernel.Rows)
            {
                for (var row = firstRow; row < IGptqKernel.Rows; row++)
                {
                    var sum = sums[row];
                    for (var k = from; k < to; k++)
                    {
                        sum = MathF.FusedMultiplyAdd(factor[(k * PackedFactor.Width) + column], changes[(k * IGptqKernel.Rows) + row], sum);
                    }

                    sums[row] = sum;
                }
            }
        }
    }

    /// <summary>Quantizes the rows from <paramref name="firstRow"/> on. The other kernels use it for the remaining rows.</summary>
    internal static void QuantizeRows(in GptqColumn column, CodeRange codes, int firstRow)
    {
        for (var row = firstRow; row < IGptqKernel.Rows; row++)
        {
            var parameters = new QuantizationParameters(column.Scales[row], column.ZeroPoints[row]);
            var weight = MathF.FusedMultiplyAdd(column.Sums[row], column.InverseDiagonal, column.Weights[row]);
            var code = ScalarQuantizer.Quantize(weight, parameters, codes);
            var value = ScalarQuantizer.Dequantize(code, parameters);
            var error = (weight - value) * column.Diagonal;
            column.Codes[row] = code;
            column.Weights[row] -= value;
            column.Losses[row] = MathF.FusedMultiplyAdd(error, error, column.Losses[row]);
        }
    }
}
