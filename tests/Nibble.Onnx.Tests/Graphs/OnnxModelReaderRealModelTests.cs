using Nibble.Onnx.Graphs;
using Nibble.Onnx.Tests.Shared;
using Nibble.Torch.Tests.Shared;

namespace Nibble.Onnx.Tests.Graphs;

public sealed class OnnxModelReaderRealModelTests : IDisposable
{
    private readonly TemporaryFolder folder = new();

    public static TheoryData<string> Files => RealGraphs.Names;

    public void Dispose() => folder.Dispose();

    [Theory]
    [MemberData(nameof(Files))]
    public void ModelThatIsReadAndWrittenGivesTheSame(string name)
    {
        var path = RealGraphs.Require(name);
        var graph = OnnxModelReader.Read(path);
        OnnxWriter.Write(folder.File("small.onnx"), graph.Model);
        OnnxWriter.Write(folder.File("large.onnx"), graph.Model, inlineLimit: 1000);
        var expected = RealGraphs.Run(name, path);
        expected.RequireSame(RealGraphs.Run(name, folder.File("small.onnx")), name);
        expected.RequireSame(RealGraphs.Run(name, folder.File("large.onnx")), name);
    }
}
