using Microsoft.ML.OnnxRuntime;
using Nibble.Numerics;
using Nibble.Onnx.Graphs;
using Nibble.Onnx.Quantization.Weights;
using Nibble.Recipes;

namespace Nibble.Onnx.Tests.Quantization.Weights;

public sealed class WeightOnlyQuantizerTests
{
    private const int Rows = 6;

    private static readonly Gen<WeightOnlyOptions> Options =
        from bits in Gen.OneOf(2, 4, 8)
        from block in Gen.OneOf(16, 32, 64, 128, 256)
        from symmetric in Gen.Bool
        from algorithm in Gen.OneOf(WeightRounding.RoundToNearest, WeightRounding.Hqq)
        select new WeightOnlyOptions { Bits = bits, BlockSize = block, Symmetric = symmetric, Algorithm = algorithm, Accuracy = MatMulAccuracy.Float32 };

    [Fact]
    public void ProductsComputeWhatTheCodesStandFor() => Gen.Select(Options, Gen.Int[1, 150], Gen.Int[1, 20], Gen.Int[0, 3], Gen.Int).Sample(
        (options, inputs, outputs, form, seed) =>
        {
            using var test = new TestGraph();
            var builder = test.Builder;
            var isTransposed = form > 1;
            var weights = TestGraph.Numbers(seed, inputs * outputs);
            var w = isTransposed ? test.Constant("w", weights, outputs, inputs)
                : test.Constant("w", [.. Enumerable.Range(0, weights.Length).Select(i => weights[(i % outputs * inputs) + (i / outputs)])], inputs, outputs);
            var bias = form > 0 ? TestGraph.Numbers(seed + 1, outputs) : new float[outputs];
            var b = test.Constant("b", bias, outputs);
            var x = isTransposed ? builder.Input("x", OnnxType.Float32, Rows, inputs) : builder.Input("x", OnnxType.Float32, "a", "b", inputs);
            builder.Output(
                form switch
                {
                    0 => builder.Node("MatMul", [x, w]),
                    1 => builder.Node("Add", [builder.Node("MatMul", [x, w]), b]),
                    2 => builder.Node("Gemm", [x, w, b], ("transB", 1L)),
                    _ => builder.Node("Gemm", [x, w, builder.Node("Identity", [b])], ("transB", 1L)),
                },
                "y", OnnxType.Float32, isTransposed ? [Rows, outputs] : ["a", "b", outputs]);
            var graph = test.Read();
            Assert.Null(WeightOnlyQuantizer.Apply(graph, options)[form == 3 ? 1 : 0].Kept);
            Assert.Equal(form == 3 ? ["Identity", "MatMulNBits", "Add", "Identity"] : ["MatMulNBits", "Identity"], graph.Nodes.Select(node => node.OpType));
            Assert.DoesNotContain(graph.Proto.Initializer, tensor => tensor.Name == "w");

            var values = TestGraph.Numbers(seed + 2, Rows * inputs);
            var found = test.Run(graph, isDefault: true, ("x", values, isTransposed ? [Rows, inputs] : [2, 3, inputs]));
            var expected = Quantize.Matrix(
                weights, outputs, inputs, new QuantizationScheme(options.Bits, options.Symmetric, Granularity.Group(options.BlockSize)),
                new MatrixOptions { Algorithm = options.Algorithm, Range = WeightRange.Mse }).Dequantize();
            for (var i = 0; i < found.Length; i++)
            {
                var (sum, size) = TestGraph.Product(
                    values.AsSpan(i / outputs * inputs, inputs), expected.AsSpan(i % outputs * inputs, inputs));
                var added = bias[i % outputs];
                Assert.True(Math.Abs(found[i] - sum - added) <= 1e-5 * (size + Math.Abs(added)), $"{options} {inputs} {outputs} {form}");
            }
        },
        iter: 100,
        threads: 1);

    [Theory]
    [InlineData(2, 32)]
    [InlineData(4, 16)]
    [InlineData(4, 32)]
    [InlineData(4, 128)]
    [InlineData(8, 32)]
    [InlineData(8, 128)]
    public void BytesOfInputsAreRoundedInBlocks(int bits, int block)
    {
        const int Inputs = 256;
        const int Outputs = 16;
        using var test = new TestGraph();
        var weights = TestGraph.Numbers(1, Inputs * Outputs);
        var x = test.Builder.Input("x", OnnxType.Float32, Rows, Inputs);
        test.Builder.Output(
            test.Builder.Node("Gemm", [x, test.Constant("w", weights, Outputs, Inputs)], ("transB", 1L)), "y", OnnxType.Float32, Rows, Outputs);
        var graph = test.Read();
        WeightOnlyQuantizer.Apply(graph, new WeightOnlyOptions { Bits = bits, BlockSize = block, Accuracy = MatMulAccuracy.Int8 });
        var values = TestGraph.Numbers(2, Rows * Inputs);
        var found = test.Run(graph, isDefault: true, ("x", values, [Rows, Inputs]));

        var rounded = new float[values.Length];
        for (var start = 0; start < values.Length; start += block)
        {
            var scale = values.AsSpan(start, block).ToArray().Max(Math.Abs) / 127;
            for (var i = start; i < start + block; i++)
            {
                rounded[i] = scale * MathF.Round(values[i] / scale);
            }
        }

        var expected = Quantize.Matrix(
            weights, Outputs, Inputs, new QuantizationScheme(bits, false, Granularity.Group(block)),
            new MatrixOptions { Range = WeightRange.Mse }).Dequantize();
        for (var i = 0; i < found.Length; i++)
        {
            var (sum, size) = TestGraph.Product(rounded.AsSpan(i / Outputs * Inputs, Inputs), expected.AsSpan(i % Outputs * Inputs, Inputs));
            Assert.InRange(Math.Abs(found[i] - sum), 0, 1e-5 * size);
        }
    }

    [Fact]
    public void AMatrixIsPackedOnceForAllItsProducts()
    {
        using var test = new TestGraph();
        var builder = test.Builder;
        var x = builder.Input("x", OnnxType.Float32, 2, 32);
        var w = test.Constant("w", TestGraph.Numbers(1, 1024), 32, 32);
        builder.Output(builder.Node("MatMul", [builder.Node("Relu", [builder.Node("MatMul", [x, w])]), w]), "y", OnnxType.Float32, 2, 32);
        var graph = test.Read();
        WeightOnlyQuantizer.Apply(graph, new WeightOnlyOptions());
        Assert.Equal(["w.codes", "w.scales", "w.zero_points"], graph.Proto.Initializer.Select(tensor => tensor.Name));
        Assert.Equal(2, graph.Nodes.Count(node => node.OpType == "MatMulNBits"));
        Assert.Equal(64, test.Run(graph, isDefault: true, ("x", TestGraph.Numbers(2, 64), [2, 32])).Length);
    }

    [Fact]
    public void GptqMakesOutputsBetterThanRounding()
    {
        const int Inputs = 48;
        const int Outputs = 24;
        var values = Correlated(200, Inputs);
        var hessian = Hessian(values, Inputs);
        float[] Run(WeightOnlyOptions options)
        {
            using var test = Product(Inputs, Outputs);
            var graph = test.Read();
            if (options.Bits < 32)
            {
                WeightOnlyQuantizer.Apply(graph, options with { Accuracy = MatMulAccuracy.Float32 });
            }

            return test.Run(graph, isDefault: true, ("x", values, [200, Inputs]));
        }

        var rounded = new WeightOnlyOptions { Bits = 4, BlockSize = 16 };
        var expected = Run(new WeightOnlyOptions { Bits = 32 });
        double Error(WeightOnlyOptions options) => expected.Zip(Run(options), (left, right) => Math.Pow(left - right, 2)).Sum();
        Assert.True(Error(rounded with { Algorithm = WeightRounding.Gptq, Hessian = name => name == "x" ? hessian : null }) < 0.8 * Error(rounded));
    }

    [Fact]
    public void GptqNeedsTheInputsOfEachProduct()
    {
        using var test = Product(16, 4);
        var message = Assert.Throws<NibbleException>(() => WeightOnlyQuantizer.Apply(
            test.Read(), new WeightOnlyOptions { Algorithm = WeightRounding.Gptq, Hessian = _ => null })).Message;
        Assert.Contains("'MatMul' reads the value 'x', which was not calibrated", message, StringComparison.Ordinal);
        Assert.Throws<ArgumentOutOfRangeException>(() => WeightOnlyQuantizer.Apply(test.Read(), new WeightOnlyOptions { Bits = 3 }));
        Assert.Throws<ArgumentOutOfRangeException>(() => WeightOnlyQuantizer.Apply(test.Read(), new WeightOnlyOptions { BlockSize = 48 }));
    }

    [Fact]
    public void ConvolutionsAreStoredInBytesAndComputedInFloat()
    {
        using var test = new TestGraph();
        var x = test.Builder.Input("x", OnnxType.Float32, 1, 12, 5, 5);
        var weights = TestGraph.Numbers(1, 12 * 12 * 9);
        test.Builder.Output(test.Builder.Node("Conv", [x, test.Constant("w", weights, 12, 12, 3, 3)]), "y", OnnxType.Float32, 1, 12, 3, 3);
        var kept = test.Read();
        Assert.Equal("convolutions have no weight-only kernel", WeightOnlyQuantizer.Apply(kept, new WeightOnlyOptions())[0].Kept);
        Assert.Contains(kept.Proto.Initializer, tensor => tensor.Name == "w");

        var graph = test.Read();
        var reason = WeightOnlyQuantizer.Apply(graph, new WeightOnlyOptions { StoreConvolutions = true })[0].Kept;
        Assert.Equal("convolutions have no weight-only kernel; its weight is stored in bytes", reason);
        Assert.Equal(["w.codes", "w.scales"], graph.Proto.Initializer.Select(tensor => tensor.Name));

        // Folded when a session loads the file, so that running it costs nothing more.
        var optimized = test.Optimized(graph, GraphOptimizationLevel.ORT_ENABLE_BASIC);
        Assert.DoesNotContain(optimized.Nodes, node => node.OpType is "Cast" or "Mul");
        var stored = Quantize.Matrix(
            weights, 12, 108, new QuantizationScheme(8, true, Granularity.Channel), new MatrixOptions { Range = WeightRange.Mse }).Dequantize();
        Assert.Equal(stored, Assert.Single(optimized.Proto.Initializer).Floats());
    }

    private static TestGraph Product(int inputs, int outputs)
    {
        var test = new TestGraph();
        var x = test.Builder.Input("x", OnnxType.Float32, "rows", inputs);
        test.Builder.Output(
            test.Builder.Node("MatMul", [x, test.Constant("w", TestGraph.Numbers(1, inputs * outputs), inputs, outputs)]),
            "y", OnnxType.Float32, "rows", outputs);
        return test;
    }

    /// <summary>Rows whose neighbouring columns go together.</summary>
    private static float[] Correlated(int rows, int columns)
    {
        var values = TestGraph.Numbers(3, rows * columns);
        for (var i = 1; i < values.Length; i++)
        {
            values[i] = i % columns == 0 ? values[i] : (0.9f * values[i - 1]) + (0.3f * values[i]);
        }

        return values;
    }

    private static SquareMatrix Hessian(float[] values, int columns)
    {
        var hessian = new SquareMatrix(columns);
        var rows = values.Length / columns;
        for (var i = 0; i < columns * columns; i++)
        {
            hessian[i / columns, i % columns] = 2f / rows * Enumerable.Range(0, rows).Sum(
                row => values[(row * columns) + (i / columns)] * values[(row * columns) + (i % columns)]);
        }

        return hessian;
    }
}
