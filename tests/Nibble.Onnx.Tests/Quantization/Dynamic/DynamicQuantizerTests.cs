using Nibble.Onnx.Graphs;
using Nibble.Onnx.Quantization;
using Nibble.Onnx.Quantization.Dynamic;

namespace Nibble.Onnx.Tests.Quantization.Dynamic;

public sealed class DynamicQuantizerTests
{
    [Theory]
    [InlineData(64, 16)]
    [InlineData(37, 5)]
    [InlineData(1, 3)]
    [InlineData(130, 1)]
    public void SumsAreExact(int inputs, int outputs)
    {
        using var test = new TestGraph();
        var x = test.Builder.Input("x", OnnxType.Float32, "batch", "rows", inputs);
        test.Builder.Output(
            test.Builder.Node("MatMul", [x, test.Constant("w", TestGraph.Numbers(inputs, inputs * outputs), inputs, outputs)]),
            "y", OnnxType.Float32, "batch", "rows", outputs);
        var graph = test.Read();
        DynamicQuantizer.Apply(graph, new DynamicOptions());
        Assert.Equal(["DynamicQuantizeMatMul", "Identity"], graph.Nodes.Select(node => node.OpType));
        var numbers = TestGraph.Numbers(2, 6 * inputs);
        Assert.Equal(Simulate(graph, "w", numbers), test.Run(graph, isDefault: true, ("x", numbers, [2, 3, inputs])));
    }

    [Fact]
    public void ProductsOfAllFormsAddTheirBias()
    {
        const int Inputs = 40;
        using var test = new TestGraph();
        var builder = test.Builder;
        var x = builder.Input("x", OnnxType.Float32, 3, Inputs);
        var bias = test.Constant("b", TestGraph.Numbers(3, 8), 8);
        var first = builder.Node("Add", [bias, builder.Node("MatMul", [x, test.Constant("w1", TestGraph.Numbers(4, Inputs * 8), Inputs, 8)])]);
        var second = builder.Node(
            "Gemm", [x, test.Constant("w2", TestGraph.Numbers(5, 8 * Inputs), 8, Inputs), test.Constant("c", TestGraph.Numbers(6, 8), 1, 8)], ("transB", 1L));
        var third = builder.Node("Gemm", [x, "w2", test.Constant("column", [1, 2, 3], 3, 1)], ("transB", 1L));
        var fourth = builder.Node("Gemm", [x, "w1"]);
        builder.Output(builder.Node("Concat", [first, second, third, fourth], ("axis", 1L)), "y", OnnxType.Float32, 3, 32);
        var graph = test.Read();
        var decisions = DynamicQuantizer.Apply(graph, new DynamicOptions());
        Assert.Equal(["MatMul", "Add", "Gemm", "Gemm", "Gemm"], decisions.Where(decision => decision.Kept is null).Select(decision => decision.Operator));
        Assert.Equal(4, graph.Nodes.Count(node => node.OpType == "DynamicQuantizeMatMul"));
        Assert.Single(graph.Nodes, node => node.OpType == "Add");
        Assert.Equal(2, graph.Proto.Initializer.Count(tensor => tensor.DataType == (int)OnnxType.Int8));

        var numbers = TestGraph.Numbers(7, 3 * Inputs);
        var (one, two) = (Simulate(graph, "w1", numbers), Simulate(graph, "w2", numbers));
        var (added, row) = (TestGraph.Numbers(3, 8), TestGraph.Numbers(6, 8));
        var found = test.Run(graph, isDefault: true, ("x", numbers, [3, Inputs]));
        for (var i = 0; i < 24; i++)
        {
            var at = (i / 8 * 32) + (i % 8);
            Assert.Equal(one[i] + added[i % 8], found[at], 1e-5f);
            Assert.Equal(two[i] + row[i % 8], found[at + 8], 1e-5f);
            Assert.Equal(two[i] + (i / 8) + 1, found[at + 16], 1e-5f);
            Assert.Equal(one[i], found[at + 24]);
        }
    }

    [Fact]
    public void AnAddStaysWhereOthersReadTheProduct()
    {
        using var test = new TestGraph();
        var builder = test.Builder;
        var x = builder.Input("x", OnnxType.Float32, 2, 16);
        var product = builder.Node("MatMul", [x, test.Constant("w", TestGraph.Numbers(1, 256), 16, 16)]);
        var sum = builder.Node("Add", [product, test.Constant("b", TestGraph.Numbers(2, 16), 16)]);
        builder.Output(builder.Node("Mul", [product, sum]), "y", OnnxType.Float32, 2, 16);
        var graph = test.Read();
        var decisions = DynamicQuantizer.Apply(graph, new DynamicOptions());
        Assert.Equal([null, WeightPass.NoWeights, WeightPass.NoWeights, WeightPass.NoWeights], decisions.Select(decision => decision.Kept));
        var numbers = TestGraph.Numbers(3, 32);
        var expected = Simulate(graph, "w", numbers);
        var bias = TestGraph.Numbers(2, 16);
        Assert.All(test.Run(graph, isDefault: true, ("x", numbers, [2, 16])).Index(),
            entry => Assert.Equal(expected[entry.Index] * (expected[entry.Index] + bias[entry.Index % 16]), entry.Item, 1e-4f));
    }

    [Fact]
    public void WhatStaysFloatSaysWhy()
    {
        using var test = new TestGraph();
        var builder = test.Builder;
        var x = builder.Input("x", OnnxType.Float32, 16, 16);
        var w = test.Constant("w", TestGraph.Numbers(1, 256), 16, 16);
        float[] infinite = [.. TestGraph.Numbers(2, 256)];
        infinite[7] = float.PositiveInfinity;
        string[] values = [
            builder.Node("MatMul", [x, x]),
            builder.Node("MatMul", [w, x]),
            builder.Node("Gemm", [x, w], ("alpha", 0.5f)),
            builder.Node("Gemm", [x, w], ("transA", 1L)),
            builder.Node("Gemm", [x, w, x], ("beta", 2f)),
            builder.Node("MatMul", [x, test.Constant("infinite", infinite, 16, 16)]),
            builder.Node("Relu", [x])];
        builder.Output(builder.Node("Sum", values), "y", OnnxType.Float32, 16, 16);
        var kept = DynamicQuantizer.Apply(test.Read(), new DynamicOptions()).Select(decision => decision.Kept).ToList();
        Assert.Equal(
            [
                "its right input is not a constant", "its right input is not a constant", "it multiplies by alpha 0.5",
                "it transposes its left input (transA)", "it multiplies its third input by beta 2", "its weight has values that are not finite",
                WeightPass.NoWeights, WeightPass.NoWeights, WeightPass.NoWeights,
            ],
            kept);
    }

    /// <summary>The products of a stored weight: bytes with a zero point, sums in 32 bits, and one multiplication.</summary>
    internal static float[] Simulate(object graph, string weight, float[] x)
    {
        var tensors = ((OnnxGraph)graph).Proto.Initializer.ToDictionary(tensor => tensor.Name);
        var (codes, scales) = (tensors[weight + ".codes"].Integers(), tensors[weight + ".scales"].Floats());
        var (outputs, inputs) = (scales.Length, codes.Length / scales.Length);
        var (low, high) = (Math.Min(0, x.Min()), Math.Max(0, x.Max()));
        var scale = (high - low) / 255;
        var zeroPoint = (int)MathF.Round(Math.Clamp(-low / scale, 0, 255));
        var bytes = Array.ConvertAll(x, value => Math.Clamp((int)MathF.Round(value / scale) + zeroPoint, 0, 255));
        var result = new float[x.Length / inputs * outputs];
        for (var i = 0; i < result.Length; i++)
        {
            var sum = 0;
            for (var k = 0; k < inputs; k++)
            {
                sum += (bytes[(i / outputs * inputs) + k] - zeroPoint) * (int)codes[(k * outputs) + (i % outputs)];
            }

            result[i] = sum * (scale * scales[i % outputs]);
        }

        return result;
    }
}
