using Nibble.Onnx.Graphs;
using Nibble.Onnx.Graphs.Lifting;
using Nibble.Onnx.Tests.Shared;
using Nibble.Torch.Tests.Shared;

namespace Nibble.Onnx.Tests.Graphs.Lifting;

public sealed class OperatorSetLiftRealModelTests : IDisposable
{
    private readonly TemporaryFolder folder = new();

    public static TheoryData<string> Files => RealGraphs.Names;

    public void Dispose() => folder.Dispose();

    [Theory]
    [MemberData(nameof(Files))]
    public void LiftedModelGivesTheSame(string name)
    {
        var path = RealGraphs.Require(name);
        var graph = OnnxModelReader.Read(path);
        OperatorSetLift.Lift(graph, path);
        Assert.True(graph.OperatorSet >= 17);
        OnnxWriter.Write(folder.File("lifted.onnx"), graph.Model);
        RealGraphs.Run(name, path).RequireSame(RealGraphs.Run(name, folder.File("lifted.onnx")), name);
    }
}
