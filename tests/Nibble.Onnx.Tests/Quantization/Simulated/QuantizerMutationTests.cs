using Google.Protobuf;
using Nibble.Onnx.Graphs;
using Nibble.Onnx.Graphs.Lifting;
using Nibble.Tests.Shared;
using Nibble.Torch.Tests.Shared;

namespace Nibble.Onnx.Tests.Quantization.Simulated;

/// <summary>Damaged files are refused with a message, or become graphs if the damage does no harm.</summary>
/// <remarks>ONNX Runtime takes no part: what it does with damaged files is not under test.</remarks>
public sealed class QuantizerMutationTests
{
    private const int Iterations = 50_000;

    private static readonly byte[][] Pieces =
        [[0x08, 0x01], [0x12], [0xFF, 0xFF, 0xFF, 0xFF, 0x0F], [0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x01], [0x00], [0x0A, 0x00],
            .. "Conv\0Gemm\0Relu\0Clip\0Add\0axis\0pads\0group\0input0".Split('\0').Select(System.Text.Encoding.ASCII.GetBytes)];

    [Fact]
    public void ADamagedFileIsReadAndLiftedOrRefused()
    {
        RandomGraph[] graphs = [.. Enumerable.Range(0, 40).Select(RandomGraphs.Make).OrderBy(graph => graph.Model.CalculateSize()).Take(8)];
        byte[][] files = [.. graphs.Select(graph => graph.Model.ToByteArray())];
        var read = 0;
        using var folder = new TemporaryFolder();
        Gen.Select(Gen.Int[0, graphs.Length - 1], Mutations.Any).Sample(
            (chosen, mutations) =>
            {
                File.WriteAllBytes(folder.File("float.onnx"), mutations.Of(files[chosen], Pieces));
                try
                {
                    OperatorSetLift.Lift(OnnxModelReader.Read(folder.File("float.onnx")), "float.onnx");
                    read++;
                }
                catch (NibbleException exception)
                {
                    Assert.NotEmpty(exception.Message);
                }
            },
            iter: Iterations,
            threads: 1);
        Assert.InRange(read, 1, Iterations - 1);
    }
}
