using Nibble.Onnx.Graphs;
using Nibble.Onnx.Preparation;
using Nibble.Onnx.Tests.Shared;
using Nibble.Torch.Tests.Shared;

namespace Nibble.Onnx.Tests.Preparation;

public sealed class ModelPreparationRealModelTests : IDisposable
{
    private readonly TemporaryFolder folder = new();

    public static TheoryData<string> Files => RealGraphs.Names;

    public void Dispose() => folder.Dispose();

    [Theory]
    [MemberData(nameof(Files))]
    public void PreparedModelGivesAlmostTheSame(string name)
    {
        var path = RealGraphs.Require(name);
        var graph = ModelPreparation.Prepare(path, folder.Path);
        Assert.True(graph.OperatorSet >= 13);
        Assert.All(graph.Nodes.SelectMany(node => node.Output).Where(value => value.Length > 0), value => Assert.NotNull(graph.TypeOf(value)));
        OnnxWriter.Write(folder.File("prepared.onnx"), graph.Model);

        // Batch normalization is folded into weights, which rounds in another way.
        RealGraphs.Run(name, path).RequireClose(RealGraphs.Run(name, folder.File("prepared.onnx")), 1e-3f, name);
    }
}
