using Nibble.Onnx.Graphs;
using Nibble.Onnx.Tests.Shared;

namespace Nibble.Onnx.Tests.Graphs;

public class HalfGraphsTests
{
    [Fact]
    public void HalfModelComputesInFloatAndKeepsItsInputsAndOutputs()
    {
        var model = new TestModel(17);
        var x = model.Input("x", OnnxType.Float16, 2, 3);
        var weight = model.Constant(new TensorProto { DataType = (int)OnnxType.Float16, Dims = { 3 }, Int32Data = { 0x3E00, 0xC000, 0x3800 } });
        var scaled = model.Node("Mul", [x, weight]);
        model.Type(scaled, OnnxType.Float16, [2, 3]);
        var shape = model.Node("Shape", [scaled]);
        var filled = model.Node("ConstantOfShape", [shape], Value(new TensorProto { DataType = (int)OnnxType.Float16, Dims = { 1 }, Int32Data = { 0x3C00 } }));
        var wide = model.Node("Cast", [model.Node("Add", [scaled, filled])], NodeAttributes.Make("to", 1L));
        var narrow = model.Node("Cast", [model.Node("Exp", [wide])], NodeAttributes.Make("to", 10L));
        var condition = model.Constant(new TensorProto { DataType = (int)OnnxType.Bool, Int32Data = { 1 } });
        var branch = model.Node("If", [condition], Branch("then_branch", "Sqrt"), Branch("else_branch", "Neg"));
        model.Output(branch, OnnxType.Float16).Output(narrow, OnnxType.Float16);
        var expected = GraphRun.Of(model.Model, 4);

        var graph = HalfGraphs.Widen(new OnnxGraph(model.Model));
        Assert.DoesNotContain(graph.Model.Tensors(), tensor => tensor.Element() == OnnxType.Float16);
        Assert.Equal(OnnxType.Float32, graph.TypeOf(scaled)!.Element);
        Assert.Equal(1.5f, graph.Constant(weight)!.Floats()[0]);
        expected.RequireClose(GraphRun.Of(graph.Model, 4), 1e-2f, "widened");

        // Once inside the branch and at both ends of the graph.
        Assert.Equal(3, graph.Nodes.Count(node => node.OpType == "Cast" && (node.Input[0] == "x" || graph.IsOutput(node.Output[0]))));

        AttributeProto Branch(string name, string type)
        {
            var attribute = model.Inside(name, () => model.Node(type, [model.Node("Abs", [x])]));
            attribute.G.Output[0].Type.TensorType.ElemType = (int)OnnxType.Float16;
            return attribute;
        }
    }

    [Fact]
    public void BrainFloatsAreWidenedToo()
    {
        var model = new TestModel(17);
        var weight = model.Constant(new TensorProto { DataType = (int)OnnxType.BFloat16, Dims = { 2 }, Int32Data = { 0x3FC0, 0xC000 } });
        var x = model.Node("Cast", [model.Input("x", OnnxType.Float32, 2)], NodeAttributes.Make("to", 16L));
        model.Output(model.Node("Cast", [model.Node("Mul", [x, weight])], NodeAttributes.Make("to", 1L)));
        var graph = HalfGraphs.Widen(new OnnxGraph(model.Model));
        Assert.Equal([1.5f, -2], graph.Constant(weight)!.Floats());
        Assert.Equal(2, Assert.Single(GraphRun.Of(graph.Model, 4).Outputs).Value.Floats.Length);
    }

    [Fact]
    public void ConstantAsOutputKeepsItsType()
    {
        var model = new TestModel(17);
        var weight = model.Constant(new TensorProto { DataType = (int)OnnxType.Float16, Dims = { 2 }, Int32Data = { 0x3E00, 0xC000 } });
        model.Output(model.Node("Relu", [weight]), OnnxType.Float16).Output(weight, OnnxType.Float16);
        var expected = GraphRun.Of(model.Model, 4);
        expected.RequireSame(GraphRun.Of(HalfGraphs.Widen(new OnnxGraph(model.Model)).Model, 4), "constant");
    }

    [Fact]
    public void FloatModelIsLeftAsItIs()
    {
        var model = new TestModel(17);
        model.Output(model.Node("Relu", [model.Input("x", OnnxType.Float32, 2)]));
        var graph = new OnnxGraph(model.Model);
        Assert.Same(graph, HalfGraphs.Widen(graph));
    }

    private static AttributeProto Value(TensorProto tensor) => new() { Name = "value", Type = AttributeProto.Types.AttributeType.Tensor, T = tensor };
}
