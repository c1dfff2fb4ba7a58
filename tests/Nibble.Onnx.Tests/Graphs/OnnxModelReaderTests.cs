using System.Runtime.InteropServices;
using System.Text;
using Google.Protobuf;
using Nibble.Onnx.Graphs;
using Nibble.Onnx.Tests.Shared;
using Nibble.Tests.Shared;
using Nibble.Torch.Tests.Shared;

namespace Nibble.Onnx.Tests.Graphs;

public sealed class OnnxModelReaderTests : IDisposable
{
    private static readonly Dictionary<string, Action<ModelProto>> Faults = new(StringComparer.Ordinal)
    {
        ["it has no graph"] = model => model.Graph = null,
        ["two tensors have the name 'w'"] = model => model.Graph.Initializer.Add(model.Graph.Initializer[0].Clone()),
        ["has two inputs with the name 'x'"] = model => model.Graph.Input.Add(model.Graph.Input[0].Clone()),
        ["node 'again' computes the value 'y'"] = model => model.Graph.Node.Add(
            new NodeProto { OpType = "Relu", Name = "again", Input = { "x" }, Output = { "y" } }),
        ["node 'again' computes the value 'x'"] = model => model.Graph.Node.Add(
            new NodeProto { OpType = "Relu", Name = "again", Input = { "y" }, Output = { "x" } }),
        ["node 'add' reads the value 'z', which no node computes"] = model => model.Graph.Node[0].Input[0] = "z",
        ["output 'z' is computed by no node"] = model => model.Graph.Output[0].Name = "z",
        ["node 'add' reads a value that depends on its own output"] = model => model.Graph.Node[0].Input[0] = "y",
        ["holds 8 bytes, but its shape requires 12"] = model => model.Graph.Initializer[0].Dims[0] = 3,
        ["holds 1 values, expected 2 for its shape"] = model => SetTyped(model.Graph.Initializer[0], 1),
        ["tensor 'c' has type 0"] = model => model.Graph.Node.Add(
            new NodeProto { OpType = "Constant", Output = { "k" }, Attribute = { new AttributeProto { Name = "value", T = new TensorProto { Name = "c" } } } }),
        ["tensor 's' has a value at index 9, expected 0 to 5"] = model => model.Graph.SparseInitializer.Add(Sparse("s", [1, 9], 2)),
        ["tensor 's' has 2 values and indices of the shape [3]"] = model => model.Graph.SparseInitializer.Add(Sparse("s", [1, 2, 3], 3)),
        ["takes 1600000000 bytes when all its values are stored"] = model => model.Graph.SparseInitializer.Add(Sparse("s", [1, 2], 2, 20000, 20000)),
        ["A sparse tensor has no values"] = model => model.Graph.SparseInitializer.Add(new SparseTensorProto()),
        ["is sparse and has no indices"] = model => model.Graph.SparseInitializer.Add(
            new SparseTensorProto { Values = TensorValues.Make("s", [1], [1f]), Dims = { 4 } }),
    };

    private readonly TemporaryFolder folder = new();

    public static TheoryData<string> Said => [.. Faults.Keys];

    public void Dispose() => folder.Dispose();

    [Theory]
    [MemberData(nameof(Said))]
    public void WhatIsWrongIsSaid(string expected)
    {
        var model = Small();
        Faults[expected](model);
        var message = Assert.Throws<NibbleException>(() => OnnxModelReader.Read(Write(model))).Message;
        Assert.Contains(expected, message, StringComparison.Ordinal);
        Assert.Contains(folder.File("model.onnx"), message, StringComparison.Ordinal);
    }

    [Fact]
    public void ExternalTensorsAreReadWhereverTheyStand()
    {
        File.WriteAllBytes(folder.File("data"), MemoryMarshal.AsBytes<float>([0, 1, 2, 3]).ToArray());
        var model = new TestModel(13);
        model.Input("x", OnnxType.Float32, 2);
        var condition = model.Constant(new TensorProto { DataType = (int)OnnxType.Bool, Int32Data = { 1 } });
        var top = model.Constant(External("top", 0));
        var node = model.Node("Constant", [], Value(External("attribute", 4)));
        var branch = model.Node(
            "If",
            [condition],
            model.Inside("then_branch", () => model.Node("Add", ["x", model.Constant(External("inner", 8))])),
            model.Inside("else_branch", () => model.Node("Add", ["x", model.Node("Constant", [], Value(External("constant", 8)))])));
        model.Output(model.Node("Sum", [top, node, branch]));
        var graph = OnnxModelReader.Read(Write(model.Model));
        var tensors = graph.Model.Tensors().Where(tensor => tensor.Element() == OnnxType.Float32)
            .ToDictionary(tensor => tensor.Name, tensor => tensor.Floats());
        Assert.Equal([0f, 1], tensors["top"]);
        Assert.Equal([1f, 2], tensors["attribute"]);
        Assert.Equal([2f, 3], tensors["inner"]);
        Assert.Equal([2f, 3], tensors["constant"]);
        Assert.Equal(2, Assert.Single(GraphRun.Of(graph.Model, 1).Outputs).Value.Floats.Length);
    }

    [Fact]
    public void SparseTensorsBecomeDense()
    {
        var model = Small();
        model.Graph.SparseInitializer.Add(Sparse("s", [1, 4], 2));
        var pairs = Sparse("p", [0, 1, 1, 2], 4);
        pairs.Indices.Dims.Clear();
        pairs.Indices.Dims.Add([2, 2]);
        pairs.Values.ClearRawData();
        pairs.Values.FloatData.Add([7, 8]);
        model.Graph.Node.Add(new NodeProto
        {
            OpType = "Constant",
            Output = { "k" },
            Attribute = { new AttributeProto { Name = "sparse_value", Type = AttributeProto.Types.AttributeType.SparseTensor, SparseTensor = pairs } },
        });
        var graph = OnnxModelReader.Read(Write(model));
        Assert.Equal([0f, 7, 0, 0, 8, 0], graph.Constant("s")!.Floats());
        Assert.Equal([2L, 3], graph.Constant("s")!.Dims);
        Assert.Equal([0f, 7, 0, 0, 0, 8], graph.Producer("k")!.Attribute("value")!.T.Floats());
        Assert.Empty(graph.Proto.SparseInitializer);
    }

    [Fact]
    public void NodesAreOrderedAndConstantsAreNoInputs()
    {
        var model = Small();
        model.Graph.Node.Insert(0, new NodeProto { OpType = "Relu", Input = { "y" }, Output = { "z" } });
        model.Graph.Input.Add(new TensorType(OnnxType.Float32, [2]).Describe("w"));
        var graph = OnnxModelReader.Read(Write(model));
        Assert.Equal(["add", "Relu"], graph.Nodes.Select(node => node.Name));
        Assert.Equal("x", Assert.Single(graph.Proto.Input).Name);
    }

    /// <summary>Mutations of the corpus: each is read or refused.</summary>
    [Fact]
    public void AMutatedModelIsReadOrRefused()
    {
        File.WriteAllBytes(folder.File("data"), new byte[4096]);
        var sparse = Small();
        sparse.Graph.SparseInitializer.Add(Sparse("s", [1, 4], 2));
        sparse.Graph.Initializer.Add(External("far", 16));
        byte[][] corpus = [Small().ToByteArray(), sparse.ToByteArray(), .. Corpus.Read("onnx")];
        byte[][] pieces =
        [
            [0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x01], [0xFF, 0xFF, 0xFF, 0xFF, 0x07], [0x3A], [0x2A, 0x00], [0x0B], [0x7A], [0x00],
            Encoding.ASCII.GetBytes("location"), Encoding.ASCII.GetBytes("offset"), Encoding.ASCII.GetBytes("data"), [0xC3, 0x28],
        ];
        var read = 0;
        Gen.Select(Gen.Int[0, corpus.Length - 1], Mutations.Any).Sample(
            (seed, mutations) =>
            {
                try
                {
                    using var stream = new MemoryStream(mutations.Of(corpus[seed], pieces));
                    var file = OnnxFile.Read(folder.File("model.onnx"), stream, name => name == "data" ? 4096 : null);
                    Assert.NotNull(OnnxModelReader.Read(file).Proto);
                    Interlocked.Increment(ref read);
                }
                catch (NibbleException)
                {
                }
            },
            iter: 100_000);
        Assert.InRange(read, 100, 99_000);
    }

    private string Write(ModelProto model)
    {
        File.WriteAllBytes(folder.File("model.onnx"), model.ToByteArray());
        return folder.File("model.onnx");
    }

    private static ModelProto Small()
    {
        var model = new TestModel(13);
        model.Input("x", OnnxType.Float32, 2);
        model.Model.Graph.Initializer.Add(TensorValues.Make("w", [2], [1f, 2]));
        model.Model.Graph.Node.Add(new NodeProto { OpType = "Add", Name = "add", Input = { "x", "w" }, Output = { "y" } });
        return model.Output("y").Model;
    }

    private static SparseTensorProto Sparse(string name, long[] indices, long count, params long[] shape) => new()
    {
        Values = TensorValues.Make(name, [2], [7f, 8]),
        Indices = TensorValues.Make(string.Empty, [count], indices),
        Dims = { shape.Length == 0 ? [2, 3] : shape },
    };

    private static TensorProto External(string name, int offset) => new()
    {
        Name = name,
        DataType = (int)OnnxType.Float32,
        Dims = { 2 },
        DataLocation = TensorProto.Types.DataLocation.External,
        ExternalData =
        {
            new StringStringEntryProto { Key = "location", Value = "data" },
            new StringStringEntryProto { Key = "offset", Value = offset.ToString(System.Globalization.CultureInfo.InvariantCulture) },
            new StringStringEntryProto { Key = "length", Value = "8" },
        },
    };

    private static AttributeProto Value(TensorProto tensor) => new() { Name = "value", Type = AttributeProto.Types.AttributeType.Tensor, T = tensor };

    private static void SetTyped(TensorProto tensor, int count)
    {
        tensor.ClearRawData();
        tensor.FloatData.Add(Enumerable.Repeat(1f, count));
    }
}
