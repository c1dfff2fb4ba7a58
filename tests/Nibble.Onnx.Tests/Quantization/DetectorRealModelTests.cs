using Microsoft.ML.OnnxRuntime;
using Microsoft.ML.OnnxRuntime.Tensors;
using Nibble.Onnx.Quantization;
using Nibble.Onnx.Tests.Shared;
using Nibble.Tests.Shared;
using Nibble.Torch.Tests.Shared;

namespace Nibble.Onnx.Tests.Quantization;

/// <summary>Detectors of faces find the same faces after quantization.</summary>
public sealed class DetectorRealModelTests : IDisposable
{
    private const float Threshold = 0.5f;
    private const int Images = 20;

    private static readonly int[] Strides = [8, 16, 32];

    private readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    [Fact]
    public void YuNetFindsTheSameFaces() => RequireSameBoxes(
        SharedData.Require("onnx/yunet_n_320_320.onnx"),
        seed => Sample(seed, 320, 320, isBgr: true, 1, 0),
        outputs => [.. Strides.SelectMany(stride => outputs[$"cls_{stride}"].Zip(outputs[$"obj_{stride}"], (x, y) => MathF.Sqrt(x * y)))]);

    [Fact]
    public void UltraFaceFindsTheSameFaces() => RequireSameBoxes(
        SharedData.Require("onnx/version-RFB-320.onnx"),
        seed => Sample(seed, 320, 240, isBgr: false, 128, 127),
        outputs => [.. outputs["scores"].Where((_, i) => i % 2 == 1)]);

    private void RequireSameBoxes(
        string model, Func<int, IReadOnlyList<NamedOnnxValue>> sample, Func<IReadOnlyDictionary<string, float[]>, float[]> scores)
    {
        var quantized = OnnxQuantizer.Run(
            model, folder.File("quantized.onnx"), Enumerable.Range(0, 2 * Images).Select(sample),
            new OnnxQuantizationOptions { Mode = OnnxMode.Static, TimingLimit = TimeSpan.Zero }, cancellation: TestContext.Current.CancellationToken);
        using var settings = new SessionOptions { LogSeverityLevel = OrtLoggingLevel.ORT_LOGGING_LEVEL_ERROR };
        using var first = new InferenceSession(model, settings);
        using var second = new InferenceSession(quantized.Path, settings);
        var (both, either) = (0, 0);
        for (var seed = 1000; seed < 1000 + Images; seed++)
        {
            var (expected, found) = (scores(Run(first, sample(seed))), scores(Run(second, sample(seed))));
            both += expected.Zip(found).Count(pair => pair.First > Threshold && pair.Second > Threshold);
            either += expected.Zip(found).Count(pair => pair.First > Threshold || pair.Second > Threshold);
        }

        Assert.InRange(either, Images, int.MaxValue);
        Assert.InRange((double)both / either, 0.97, 1);
    }

    private static Dictionary<string, float[]> Run(InferenceSession session, IReadOnlyList<NamedOnnxValue> sample)
    {
        using var outputs = session.Run(sample);
        return outputs.ToDictionary(output => output.Name, output => output.AsEnumerable<float>().ToArray(), StringComparer.Ordinal);
    }

    private static IReadOnlyList<NamedOnnxValue> Sample(int seed, int width, int height, bool isBgr, float divisor, float mean)
    {
        using var picture = DrawnFaces.Draw(seed, width, height);
        var pixels = picture.Pixels;
        var values = new DenseTensor<float>([1, 3, height, width]);
        for (var i = 0; i < pixels.Length; i++)
        {
            var (first, third) = isBgr ? (pixels[i].Blue, pixels[i].Red) : (pixels[i].Red, pixels[i].Blue);
            values.SetValue(i, (first - mean) / divisor);
            values.SetValue(pixels.Length + i, (pixels[i].Green - mean) / divisor);
            values.SetValue((2 * pixels.Length) + i, (third - mean) / divisor);
        }

        return [NamedOnnxValue.CreateFromTensor("input", values)];
    }
}
