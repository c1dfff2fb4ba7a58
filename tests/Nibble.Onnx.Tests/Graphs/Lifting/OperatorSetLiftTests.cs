using Nibble.Onnx.Graphs;
using Nibble.Onnx.Graphs.Lifting;
using Nibble.Onnx.Tests.Shared;

namespace Nibble.Onnx.Tests.Graphs.Lifting;

public class OperatorSetLiftTests
{
    [Fact]
    public void RandomOldModelsGiveTheSame()
    {
        var used = new Dictionary<string, int>(StringComparer.Ordinal);
        for (var seed = 0; seed < 600; seed++)
        {
            var (model, operators) = OldModels.Make(seed);
            var what = $"seed {seed}: {string.Join(", ", operators)}";
            var expected = GraphRun.Of(model, seed);
            OperatorSetLift.Lift(new OnnxGraph(model), "m.onnx");
            Assert.Equal(17, Assert.Single(model.OpsetImport).Version);
            var found = GraphRun.Of(model, seed);

            // Resampling may interpolate in another order, a scaled image may be rounded once more, and vectorized sums depend on where the memory begins.
            var isClose = operators.Any(type => type is "Upsample" or "Resize" or "ImageScaler" || type.StartsWith("Reduce", StringComparison.Ordinal));
            expected.RequireClose(found, isClose ? 1e-6f : 0, what);
            foreach (var type in operators)
            {
                used[type] = used.GetValueOrDefault(type) + 1;
            }
        }

        Assert.All(OldModels.Operators, type => Assert.True(used.GetValueOrDefault(type) >= 3, $"{type} is in {used.GetValueOrDefault(type)} models"));
    }

    [Fact]
    public void NumbersGetTheTypeOfTheInput()
    {
        var model = new TestModel(10);
        var x = model.Node("Relu", [model.Input("x", OnnxType.Float64, 2, 3)]);
        model.Output(model.Node("Pad", [x], NodeAttributes.Make("pads", [0L, 1, 0, 1]), NodeAttributes.Make("value", 3f)), OnnxType.Float64);
        var expected = GraphRun.Of(model.Model, 1);
        OperatorSetLift.Lift(new OnnxGraph(model.Model), "m.onnx");
        expected.RequireSame(GraphRun.Of(model.Model, 1), "Pad");
    }

    [Fact]
    public void LastAxisNeedsNoReshape()
    {
        var model = new TestModel(9);
        model.Output(model.Node("Softmax", [model.Input("x", OnnxType.Float32, null, 3)]));
        OperatorSetLift.Lift(new OnnxGraph(model.Model), "m.onnx");
        Assert.Equal(-1, Assert.Single(model.Model.Graph.Node).Integer("axis", 0));
    }

    [Fact]
    public void EmptyTensorKeepsItsShape()
    {
        var model = new TestModel(9);
        var x = model.Node("Identity", [model.Input("x", OnnxType.Float32, 2, 3, 0)]);
        model.Output(model.Node("Softmax", [x]));
        OperatorSetLift.Lift(new OnnxGraph(model.Model), "m.onnx");
        Assert.Equal([2L, 3, 0], Assert.Single(GraphRun.Of(model.Model, 1).Outputs).Value.Shape);
    }

    [Fact]
    public void NewerModelsAndOtherDomainsAreLeftAsTheyAre()
    {
        var model = new TestModel(18);
        model.Output(model.Node("Squeeze", [model.Input("x", OnnxType.Float32, 1, 3)]));
        var before = model.Model.Clone();
        OperatorSetLift.Lift(new OnnxGraph(model.Model), "m.onnx");
        Assert.Equal(before, model.Model);

        model = new TestModel(9);
        model.Output(model.Node("other:Squeeze", [model.Input("x", OnnxType.Float32, 1, 3)], NodeAttributes.Make("axes", [0L])));
        OperatorSetLift.Lift(new OnnxGraph(model.Model), "m.onnx");
        Assert.Equal([0L], Assert.Single(model.Model.Graph.Node).Integers("axes"));
    }

    [Fact]
    public void FunctionsThatNeedNoChangeAreLifted()
    {
        var model = Function("Relu");
        var expected = GraphRun.Of(model, 1);
        OperatorSetLift.Lift(new OnnxGraph(model), "m.onnx");
        Assert.Equal(17, model.Functions[0].OpsetImport[0].Version);
        expected.RequireSame(GraphRun.Of(model, 1), "function");
    }

    [Fact]
    public void WhatHasNoEquivalentIsNamed()
    {
        Refused(Model(6, "Relu"), "m.onnx: the model has operator set 6, expected 7 or later");
        Refused(Model(9, "Affine"), "m.onnx: the node 'Affine0' with the operator Affine of operator set 9 has no equivalent");
        Refused(Model(8, "Scan"), "the node 'Scan0' with the operator Scan of operator set 8 has a batch axis");
        Refused(Model(8, "BatchNormalization", NodeAttributes.Make("spatial", 0L)), "statistics per value");
        Refused(Model(10, "TopK"), null);
        Refused(Model(9, "TopK"), "has no attribute 'k'");
        Refused(Function("Softmax"), "the function 'f' has the node 'inner' with the operator Softmax of operator set 12");
        var training = new TestModel(9);
        training.Output(training.Nodes("BatchNormalization", 5, [training.Input("x", OnnxType.Float32, 1, 2), "a", "b", "c", "d"])[0]);
        Refused(training.Model, "computes the statistics of training");
        var mask = new TestModel(9);
        mask.Output(mask.Nodes("Dropout", 2, [mask.Input("x", OnnxType.Float32, 1, 2)])[1]);
        Refused(mask.Model, "gives a mask that is read");
    }

    private static void Refused(ModelProto model, string? message)
    {
        var graph = new OnnxGraph(model);
        if (message is null)
        {
            OperatorSetLift.Lift(graph, "m.onnx");
            return;
        }

        Assert.Contains(message, Assert.Throws<NibbleException>(() => OperatorSetLift.Lift(graph, "m.onnx")).Message, StringComparison.Ordinal);
    }

    private static ModelProto Model(int version, string type, params AttributeProto[] attributes)
    {
        var model = new TestModel(version);
        return model.Output(model.Node(type, [model.Input("x", OnnxType.Float32, 1, 3)], attributes)).Model;
    }

    private static ModelProto Function(string type)
    {
        var model = Model(12, "local:f");
        model.IrVersion = 8;
        model.OpsetImport.Add(new OperatorSetIdProto { Domain = "local", Version = 1 });
        model.Functions.Add(new FunctionProto
        {
            Name = "f",
            Domain = "local",
            Input = { "a" },
            Output = { "b" },
            Node = { new NodeProto { OpType = type, Name = "inner", Input = { "a" }, Output = { "b" } } },
            OpsetImport = { new OperatorSetIdProto { Version = 12 } },
        });
        return model;
    }
}
