using System.Numerics;
using Nibble.Numerics;

namespace Nibble.Algorithms;

/// <summary>The kernel for portable vectors of the machine's width.</summary>
internal sealed unsafe class VectorGptqKernel : IGptqKernel
{
    public string Name => "vector";

    public void Accumulate(float* tiles, int first, int end, int from, int to, float* changes, float* sums)
    {
        var width = Vector<float>.Count;
        var done = 0;
        for (; done <= IGptqKernel.Rows - width; done += width)
        {
            var target = sums + done;
            for (var tile = first; tile < end; tile++, target += PackedFactor.Width * IGptqKernel.Rows)
            {
                var factor = tiles + PackedFactor.TileOffset(tile);
                var sum0 = Vector.Load(target);
                var sum1 = Vector.Load(target + IGptqKernel.Rows);
                var sum2 = Vector.Load(target + (2 * IGptqKernel.Rows));
                var sum3 = Vector.Load(target + (3 * IGptqKernel.Rows));
                for (var k = from; k < to; k++)
                {
                    var change = Vector.Load(changes + (k * IGptqKernel.Rows) + done);
                    var row = factor + (k * PackedFactor.Width);
                    sum0 = Vector.FusedMultiplyAdd(new Vector<float>(row[0]), change, sum0);
                    sum1 = Vector.FusedMultiplyAdd(new Vector<float>(row[1]), change, sum1);
                    sum2 = Vector.FusedMultiplyAdd(new Vector<float>(row[2]), change, sum2);
                    sum3 = Vector.FusedMultiplyAdd(new Vector<float>(row[3]), change, sum3);
                }

                sum0.Store(target);
                sum1.Store(target + IGptqKernel.Rows);
                sum2.Store(target + (2 * IGptqKernel.Rows));
                sum3.Store(target + (3 * IGptqKernel.Rows));
            }
        }

        ScalarGptqKernel.AccumulateRows(tiles, first, end, from, to, changes, sums, done);
    }

    // One column per some thousands of multiply-adds: not worth vectorizing.
    public void Quantize(in GptqColumn column, CodeRange codes) => ScalarGptqKernel.QuantizeRows(column, codes, 0);
}
