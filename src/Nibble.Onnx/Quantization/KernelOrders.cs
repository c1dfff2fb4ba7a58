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

        // QLinearConv puts channels last, so that the input channels of one kernel position are neighbours. Where it does not, positions are.
        var positions = weight.Dims.Skip(2).Aggregate(1, (product, size) => product * (int)size);
        var last = new int[inputs * positions];
        for (var position = 0; position < positions; position++)
        {
            for (var input = 0; input < inputs; input++)
            {
                last[(position * inputs) + input] = (input * positions) + position;
            }
        }

        return [[.. Enumerable.Range(0, last.Length)], last];
    }
}
