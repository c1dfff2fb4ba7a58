using Nibble.Numerics;
using Nibble.Onnx.Graphs;
using Nibble.Onnx.Quantization.Dynamic;
using Nibble.Onnx.Quantization.Weights;
using Nibble.Recipes;

namespace Nibble.Onnx.Tests.Quantization;

public sealed class EmbeddingTablesTests
{
    private const int Rows = 60;
    private const int Columns = 80;

    [Fact]
    public void RowsAreThoseOfTheirCodes()
    {
        using var test = Lookup(Rows, "Gather");
        var graph = test.Read();
        Assert.Null(WeightOnlyQuantizer.Apply(graph, new WeightOnlyOptions())[0].Kept);
        Assert.DoesNotContain(graph.Proto.Initializer, tensor => tensor.Name == "table");
        var values = Dequantized(TestGraph.Numbers(1, Rows * Columns));
        long[] ids = [0, 59, -1, 17, 17, 3];
        float[] expected = [.. ids.SelectMany(id => values.Skip((int)((id + Rows) % Rows) * Columns).Take(Columns))];
        Assert.Equal(expected, test.Run(graph, isDefault: true, ("ids", ids, [2, 3])));
    }

    [Fact]
    public void ATableIsStoredOnceForLookUpsAndOnceForProducts()
    {
        using var test = Lookup(Rows, "Gather");
        var builder = test.Builder;
        var hidden = builder.Node("Gather", ["table", "ids"]);
        builder.Output(builder.Node("Gemm", [builder.Node("Reshape", [hidden, builder.Integers(-1, Columns)]), "table"], ("transB", 1L)),
            "logits", OnnxType.Float32, 6, Rows);
        var graph = test.Read();
        var decisions = DynamicQuantizer.Apply(graph, new DynamicOptions());
        Assert.Equal(["Gather", "Gather", "Gemm"], decisions.Where(decision => decision.Kept is null).Select(decision => decision.Operator));
        Assert.Equal(["table.codes", "table.row_codes"],
            graph.Proto.Initializer.Where(tensor => tensor.DataType == (int)OnnxType.Int8).Select(tensor => tensor.Name).Order());
        Assert.DoesNotContain(graph.Proto.Initializer, tensor => tensor.Name == "table");
        Assert.Equal(6 * Columns, test.Run(graph, isDefault: true, ("ids", new long[] { 1, 2, 3, 4, 5, 6 }, [2, 3])).Length);
    }

    [Fact]
    public void TablesThatOthersReadOrThatAreSmallStayFloat()
    {
        using (var test = Lookup(Rows, "Gather"))
        {
            test.Builder.Output(test.Builder.Node("Relu", ["table"]), "z", OnnxType.Float32, Rows, Columns);
            Assert.Equal("its table is also read by Relu 'Relu'", Decide(test));
        }

        using (var test = Lookup(50, "Gather"))
        {
            Assert.Equal("its table has 4000 values, too few to gain from bytes", Decide(test));
        }

        using (var test = Lookup(Rows, "Gather", ("axis", 1L)))
        {
            Assert.Equal("it does not look up rows of a table with 2 axes", Decide(test));
        }
    }

    private static string? Decide(TestGraph test) => DynamicQuantizer.Apply(test.Read(), new DynamicOptions())[0].Kept;

    private static TestGraph Lookup(int rows, string type, params (string Name, object Value)[] attributes)
    {
        var test = new TestGraph();
        var ids = test.Builder.Input("ids", OnnxType.Int64, 2, 3);
        var table = test.Constant("table", TestGraph.Numbers(1, rows * Columns), rows, Columns);
        test.Builder.Output(test.Builder.Node(type, [table, ids], attributes), "y", OnnxType.Float32, "a", "b", "c");
        return test;
    }

    private static float[] Dequantized(float[] table) => Quantize.Matrix(
        table, Rows, Columns, new QuantizationScheme(8, true, Granularity.Channel), new MatrixOptions { Range = WeightRange.Mse }).Dequantize();
}
