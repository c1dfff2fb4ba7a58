using Nibble.Onnx.Graphs;

namespace Nibble.Onnx.Quantization;

/// <summary>The orders in which ONNX Runtime's kernels add the products of one output channel. Neighbours are added in 16 bits on some processors.</summary>
internal static class KernelOrders
{
    /// <summary>The orders for a node's weight.</summary>
    /// <param name="node">The node.</param>
    /// <param name="weight">Its weight; that of a convolution is [out, in, kernel...].</param>
    /// <returns>Indices into the values of one channel. Null if the kernel adds in 32 bits.</returns>
    public static IReadOnlyList<int[]>? Of(NodeProto node, TensorProto weight)
    {
        ArgumentNullException.ThrowIfNull(node);
        ArgumentNullException.ThrowIfNull(weight);
        if (node.OpType != "Conv")
        {
            return [];
        }

        var inputs = (int)weight.Dims[1];
        if (inputs == 1 && node.Integer("group", 1) > 1)
        {
            // Kernels of depthwise convolutions multiply in 16 bits and add in 32.
            return null;
        }

        // QLinearConv puts channels last: the input channels of one kernel position are neighbours. If their number is odd, a kernel that goes over positions
        // one by one pairs them otherwise than one that reads them in a row.
        var positions = weight.Dims.Skip(2).Aggregate(1, (product, size) => product * (int)size);
        var row = new List<int>(inputs * positions);
        var padded = new List<int>(row.Capacity + positions);
        for (var position = 0; position < positions; position++)
        {
            for (var input = 0; input < inputs; input++)
            {
                row.Add((input * positions) + position);
                padded.Add((input * positions) + position);
            }

            if (inputs % 2 == 1)
            {
                padded.Add(SaturationGuard.Padding);
            }
        }

        return inputs % 2 == 0 ? [[.. row]] : [[.. row], [.. padded]];
    }
}
