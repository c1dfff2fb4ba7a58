using Google.Protobuf;
using Nibble.Onnx.Graphs;
using Nibble.Onnx.Preparation;
using Nibble.Onnx.Tests.Shared;
using Nibble.Torch.Tests.Shared;

namespace Nibble.Onnx.Tests.Preparation;

public sealed class ModelPreparationTests : IDisposable
{
    private readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    [Fact]
    public void WeightBehindCastTransposeAndReshapeIsOneConstant()
    {
        var model = new TestModel(13);
        var half = model.Constant(
            new TensorProto { DataType = (int)OnnxType.Float16, Dims = { 6 }, Int32Data = { 0x3E00, 0xC000, 0x3800, 0x3C00, 0, 0x4000 } });
        var wide = model.Node("Cast", [half], NodeAttributes.Make("to", 1L));
        var weight = model.Node("Transpose", [model.Node("Reshape", [wide, model.Integers([2, 3], 2)])], NodeAttributes.Make("perm", [1L, 0]));
        model.Output(model.Node("MatMul", [model.Input("x", OnnxType.Float32, null, 3), weight]));
        var graph = Prepare(model.Model);
        var product = Assert.Single(graph.Nodes);
        Assert.Equal([1.5f, 1, -2, 0, 0.5f, 2], graph.Constant(product.Input[1])!.Floats());
        Assert.Equal([3L, 2], graph.Constant(product.Input[1])!.Dims);
        Assert.Equal([folder.File("model.onnx")], Directory.GetFiles(folder.Path));
    }

    [Fact]
    public void EveryValueHasATypeAndOldOperatorsAreLifted()
    {
        var model = new TestModel(9);
        var x = model.Node("Relu", [model.Input("x", OnnxType.Float32, null, 3, 4, 4)]);
        var up = model.Node("Upsample", [x, model.Floats([1, 1, 2, 2], 4)]);
        model.Output(model.Node("Softmax", [model.Node("Clip", [up], NodeAttributes.Make("max", 1f))], NodeAttributes.Make("axis", 2L)));
        var expected = GraphRun.Of(model.Model, 2);
        var graph = Prepare(model.Model);
        Assert.Equal(17, graph.OperatorSet);
        Assert.All(graph.Nodes.SelectMany(node => node.Output), value => Assert.NotNull(graph.TypeOf(value)));
        Assert.Equal(8, graph.TypeOf(graph.Nodes.First(node => node.OpType == "Resize").Output[0])!.Shape![2]);
        expected.RequireClose(GraphRun.Of(graph.Model, 2), 1e-6f, "prepared");
    }

    [Fact]
    public void FunctionsAreInlined()
    {
        var model = new TestModel(12);
        model.Output(model.Node("local:f", [model.Input("x", OnnxType.Float32, 2, 3)]));
        model.Model.IrVersion = 8;
        model.Model.OpsetImport.Add(new OperatorSetIdProto { Domain = "local", Version = 1 });
        model.Model.Functions.Add(new FunctionProto
        {
            Name = "f",
            Domain = "local",
            Input = { "a" },
            Output = { "b" },
            Node =
            {
                new NodeProto { OpType = "Softmax", Input = { "a" }, Output = { "s" } },
                new NodeProto { OpType = "Neg", Input = { "s" }, Output = { "b" } },
            },
            OpsetImport = { new OperatorSetIdProto { Version = 12 } },
        });
        var expected = GraphRun.Of(model.Model, 2);
        var graph = Prepare(model.Model);
        Assert.Equal(["Softmax", "Neg"], graph.Nodes.Select(node => node.OpType));
        Assert.Empty(graph.Model.Functions);
        expected.RequireSame(GraphRun.Of(graph.Model, 2), "inlined");
    }

    [Fact]
    public void HalfModelIsPreparedInFloat()
    {
        var model = new TestModel(10);
        var weight = model.Constant(new TensorProto { DataType = (int)OnnxType.Float16, Dims = { 2, 2 }, Int32Data = { 0x3E00, 0xC000, 0x3800, 0x3C00 } });
        var product = model.Node("MatMul", [model.Input("x", OnnxType.Float16, 2, 2), weight]);
        model.Output(model.Node("Clip", [product], NodeAttributes.Make("min", 0f)), OnnxType.Float16);
        var graph = Prepare(model.Model);
        Assert.Equal("Cast MatMul Clip Cast", string.Join(' ', graph.Nodes.Select(node => node.OpType)));
        Assert.Equal(OnnxType.Float32, graph.TypeOf(graph.Nodes[1].Output[0])!.Element);
    }

    [Fact]
    public void ModelThatIsQuantizedIsRefused()
    {
        foreach (var type in (string[])["QuantizeLinear", "DynamicQuantizeLinear", "QLinearConv", "com.microsoft:MatMulNBits", "MatMulInteger"])
        {
            var model = new TestModel(13);
            model.Output(model.Node(type, [model.Node("Relu", [model.Input("x", OnnxType.Float32, 2)])]));
            var name = model.Model.Graph.Node[1].Name;
            Refused(model.Model, $"is quantized already: the node '{name}' has the operator {type.Split(':')[^1]}");
        }

        var inner = new TestModel(13);
        inner.Input("x", OnnxType.Float32, 2);
        var condition = inner.Input("c", OnnxType.Bool, 1);
        inner.Output(inner.Node(
            "If",
            [condition],
            inner.Inside("then_branch", () => inner.Node("ConvInteger", ["x", "x"])),
            inner.Inside("else_branch", () => inner.Node("Relu", ["x"]))));
        Refused(inner.Model, "has the operator ConvInteger");
    }

    [Fact]
    public void RefusalOfTheEngineNamesTheFileAndTheCause()
    {
        var model = new TestModel(13);
        model.Output(model.Node("NoSuchOperator", [model.Input("x", OnnxType.Float32, 2)]));
        Refused(model.Model, "NoSuchOperator");
    }

    private void Refused(ModelProto model, string expected)
    {
        var message = Assert.Throws<NibbleException>(() => Prepare(model)).Message;
        Assert.Contains(expected, message, StringComparison.Ordinal);
        Assert.Contains(folder.File("model.onnx"), message, StringComparison.Ordinal);
        Directory.GetFiles(folder.Path).ToList().ForEach(File.Delete);
    }

    private OnnxGraph Prepare(ModelProto model)
    {
        File.WriteAllBytes(folder.File("model.onnx"), model.ToByteArray());
        return ModelPreparation.Prepare(folder.File("model.onnx"), folder.Path);
    }
}
