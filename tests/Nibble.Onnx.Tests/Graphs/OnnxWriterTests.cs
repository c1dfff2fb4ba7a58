using System.Globalization;
using System.Runtime.InteropServices;
using Nibble.Onnx.Graphs;
using Nibble.Torch.Tests.Shared;

namespace Nibble.Onnx.Tests.Graphs;

public sealed class OnnxWriterTests : IDisposable
{
    private readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    [Fact]
    public void SmallModelIsOneFileWithRawBytes()
    {
        var graph = Graph([1, 2, 3]);
        var bytes = OnnxWriter.Write(folder.File("a.onnx"), graph.Build("g", [new("key", "value")]), graph.Initializers);
        Assert.Equal(bytes, new FileInfo(folder.File("a.onnx")).Length);
        Assert.Single(Directory.GetFiles(folder.Path));
        var model = ModelProto.Parser.ParseFrom(File.ReadAllBytes(folder.File("a.onnx")));
        Assert.Equal("g", model.Graph.Name);
        Assert.Equal("value", Assert.Single(model.MetadataProps).Value);
        var tensor = Assert.Single(model.Graph.Initializer);
        Assert.Equal([3L], tensor.Dims);
        Assert.Equal((int)OnnxType.Float32, tensor.DataType);
        Assert.Equal([1f, 2f, 3f], MemoryMarshal.Cast<byte, float>(tensor.RawData.Span));
    }

    [Fact]
    public void LargeTensorsGoToASecondFileAtAlignedOffsets()
    {
        var graph = new GraphBuilder();
        float[] first = [.. Enumerable.Range(0, 300).Select(i => (float)i)];
        float[] second = [.. Enumerable.Range(0, 500).Select(i => i * 0.5f)];
        Add(graph, "first", first);
        Add(graph, "small", [7]);
        Add(graph, "second", second);
        var bytes = OnnxWriter.Write(folder.File("a.onnx"), graph.Build("g", []), graph.Initializers, inlineLimit: 1000);
        Assert.Equal(bytes, Directory.GetFiles(folder.Path).Sum(path => new FileInfo(path).Length));
        var data = File.ReadAllBytes(folder.File("a.onnx.data"));
        var tensors = ModelProto.Parser.ParseFrom(File.ReadAllBytes(folder.File("a.onnx"))).Graph.Initializer.ToDictionary(tensor => tensor.Name);
        Assert.Equal([7f], MemoryMarshal.Cast<byte, float>(tensors["small"].RawData.Span));
        foreach (var (name, values) in (ReadOnlySpan<(string, float[])>)[("first", first), ("second", second)])
        {
            var external = tensors[name].ExternalData.ToDictionary(entry => entry.Key, entry => entry.Value);
            Assert.Equal(TensorProto.Types.DataLocation.External, tensors[name].DataLocation);
            Assert.False(tensors[name].HasRawData);
            Assert.Equal("a.onnx.data", external["location"]);
            var offset = int.Parse(external["offset"], CultureInfo.InvariantCulture);
            Assert.Equal(0, offset % 4096);
            Assert.Equal(values, MemoryMarshal.Cast<byte, float>(data.AsSpan(offset, int.Parse(external["length"], CultureInfo.InvariantCulture))));
        }
    }

    [Fact]
    public void TensorOfAnotherLengthIsRefusedAndNothingIsWritten()
    {
        var graph = new GraphBuilder();
        graph.Initializer("x", OnnxType.Float32, [3], stream => stream.Write(new byte[8]));
        Assert.Contains("wrote 8 bytes, expected 12",
            Assert.Throws<ArgumentException>(() => OnnxWriter.Write(folder.File("a.onnx"), graph.Build("g", []), graph.Initializers)).Message,
            StringComparison.Ordinal);
        Assert.Empty(Directory.GetFiles(folder.Path));
    }

    [Fact]
    public void EqualConstantsAreOne()
    {
        var graph = new GraphBuilder();
        Assert.Equal(graph.Float(1), graph.Float(1));
        Assert.NotEqual(graph.Float(1), graph.Double(1));
        Assert.NotEqual(graph.Integer(1), graph.Integers(1));
        Assert.Equal(4, graph.Initializers.Count);
        Assert.Throws<ArgumentException>(() => graph.Initializer(graph.Float(1), OnnxType.Float32, [], _ => { }));
    }

    private static GraphBuilder Graph(float[] values)
    {
        var graph = new GraphBuilder();
        Add(graph, "x", values);
        return graph;
    }

    private static void Add(GraphBuilder graph, string name, float[] values) =>
        graph.Initializer(name, OnnxType.Float32, [values.Length], stream => stream.Write(MemoryMarshal.AsBytes(values.AsSpan())));
}
