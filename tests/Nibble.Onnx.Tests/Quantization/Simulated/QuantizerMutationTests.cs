using Google.Protobuf;
using Nibble.Onnx.Quantization;
using Nibble.Tests.Shared;
using Nibble.Torch.Tests.Shared;

namespace Nibble.Onnx.Tests.Quantization.Simulated;

/// <summary>Damaged files are refused with a message, or quantized if the damage does no harm.</summary>
public sealed class QuantizerMutationTests
{
    private const int Iterations = 300;

    private static readonly byte[][] Pieces =
        [[0x08, 0x01], [0x12], [0xFF, 0xFF, 0xFF, 0xFF, 0x0F], [0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x01], [0x00], [0x0A, 0x00],
            .. "Conv\0Gemm\0Relu\0Clip\0Add\0axis\0pads\0group\0input0".Split('\0').Select(System.Text.Encoding.ASCII.GetBytes)];

    [Fact]
    public void ADamagedFileIsQuantizedOrRefused()
    {
        RandomGraph[] graphs = [.. Enumerable.Range(0, 40).Select(RandomGraphs.Make).OrderBy(graph => graph.Model.CalculateSize()).Take(8)];
        byte[][] files = [.. graphs.Select(graph => graph.Model.ToByteArray())];
        var quantized = 0;
        Gen.Select(Gen.Int[0, graphs.Length - 1], Mutations.Any).Sample(
            (chosen, mutations) =>
            {
                using var folder = new TemporaryFolder();
                File.WriteAllBytes(folder.File("float.onnx"), mutations.Of(files[chosen], Pieces));
                try
                {
                    OnnxQuantizer.Run(
                        folder.File("float.onnx"), folder.File("quantized.onnx"), graphs[chosen].Samples(5), new OnnxQuantizationOptions { TimingLimit = TimeSpan.Zero });
                    quantized++;
                }
                catch (NibbleException exception)
                {
                    Assert.True(exception.Message.Length > 0 && !File.Exists(folder.File("quantized.onnx")));
                }
            },
            iter: Iterations,
            threads: 1);
        Assert.InRange(quantized, Iterations / 100, Iterations * 99 / 100);
    }
}
