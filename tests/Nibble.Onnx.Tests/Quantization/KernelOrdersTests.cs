using Nibble.Onnx.Graphs;
using Nibble.Onnx.Quantization;

namespace Nibble.Onnx.Tests.Quantization;

public sealed class KernelOrdersTests
{
    [Fact]
    public void InputChannelsOfOnePositionAreNeighbours() =>
        Assert.Equal([[0, 2, 1, 3]], KernelOrders.Of(new NodeProto { OpType = "Conv" }, Weight(5, 2, 1, 2))!);

    [Fact]
    public void OddChannelsArePairedInARowAndPositionByPosition() => Assert.Equal(
        [[0, 2, 4, 1, 3, 5], [0, 2, 4, SaturationGuard.Padding, 1, 3, 5, SaturationGuard.Padding]],
        KernelOrders.Of(new NodeProto { OpType = "Conv" }, Weight(5, 3, 1, 2))!);

    [Fact]
    public void DepthwiseKernelsNeedNoGuard() =>
        Assert.Null(KernelOrders.Of(new NodeProto { OpType = "Conv", Attribute = { NodeAttributes.Make("group", 8L) } }, Weight(8, 1, 3, 3)));

    private static TensorProto Weight(params long[] shape) => TensorValues.Make("w", shape, new float[shape.Aggregate(1L, (product, size) => product * size)]);
}
