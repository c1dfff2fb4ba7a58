using System.Globalization;
using System.IO.Compression;
using System.Numerics.Tensors;
using Microsoft.ML.OnnxRuntime;
using Microsoft.ML.OnnxRuntime.Tensors;
using Nibble.Models;
using Nibble.Onnx.Data;
using Nibble.Onnx.Engine;
using Nibble.Onnx.Quantization;
using Nibble.Onnx.Serving;
using Nibble.Tests.Shared;
using Nibble.Torch.Tests.Shared;

namespace Nibble.Onnx.Tests.Quantization;

/// <summary>Models of other people keep their accuracy: measured on data that did not calibrate.</summary>
public sealed class RealModelTests : IDisposable
{
    private readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    [Fact]
    public void ResNet20LosesNoMoreThan3TenthsOfAPoint()
    {
        var model = SharedData.Require("resnet20-cifar10/resnet20.onnx");
        var quantized = Quantize(model, OnnxMode.Static, "resnet20-cifar10/cifar10-jpeg-train-8000.bin", "imagenet,stretch");
        foreach (var (file, expected) in ((string, double)[])[("cifar10-jpeg-test-2000.bin", 0.815), ("cifar10-test-first100.bin", 0.94)])
        {
            var records = File.ReadAllBytes(SharedData.Require($"resnet20-cifar10/{file}"));
            var labels = Enumerable.Range(0, records.Length / 3073).Select(i => (int)records[i * 3073]).ToList();
            Assert.Equal(expected, Accuracy(model, $"resnet20-cifar10/{file}", "imagenet,stretch", labels), 0.0005);
            Assert.InRange(Accuracy(quantized.Path, $"resnet20-cifar10/{file}", "imagenet,stretch", labels), expected - 0.003, 1);
        }
    }

    [Fact]
    public void MnistIsAsGoodAsInFloat()
    {
        var model = SharedData.Require("onnx/opt-mnist.onnx");
        var quantized = Quantize(model, OnnxMode.Static, "mnist/train-images-idx3-ubyte.gz", "raw");
        Assert.All(quantized.Nodes, node => Assert.Null(node.Kept));
        using var stream = new GZipStream(File.OpenRead(SharedData.Require("mnist/t10k-labels-idx1-ubyte.gz")), CompressionMode.Decompress);
        using var bytes = new MemoryStream();
        stream.CopyTo(bytes);
        var labels = bytes.ToArray().Skip(8).Select(label => (int)label).ToList();
        Assert.Equal(10_000, labels.Count);

        // The float model itself is right on 98.91 % of the digits.
        Assert.Equal(0.9891, Accuracy(model, "mnist/t10k-images-idx3-ubyte.gz", "raw", labels), 0.00005);
        Assert.InRange(Accuracy(quantized.Path, "mnist/t10k-images-idx3-ubyte.gz", "raw", labels), 0.988, 1);
    }

    [Theory]
    [InlineData(OnnxMode.Dynamic, 8, 0.005)]
    [InlineData(OnnxMode.Weights, 8, 0.002)]
    public void SentenceEmbeddingsKeepTheirRanking(OnnxMode mode, int bits, double limit)
    {
        var source = SharedData.Require("all-MiniLM-L6-v2");
        using (var tensors = ModelTensors.Open(source, new TaskConfig(ModelTask.Embedding, Pooling.Mean, Normalizes: true)))
        {
            OnnxExporter.Run(tensors, folder.File("model.onnx"));
        }

        var quantized = Quantize(folder.File("model.onnx"), mode, "sts-benchmark/train.tsv", preprocessing: null, source, bits);
        Assert.InRange(0.8203 - Spearman(quantized.Path), -limit, limit);
    }

    [Fact]
    public void AVisionTransformerAgreesInItsFirstClass()
    {
        var model = SharedData.Require("onnx/pgd_2_3_16.onnx");
        var quantized = Quantize(model, OnnxMode.Static, "resnet20-cifar10/cifar10-jpeg-train-8000.bin", "unit");
        var (first, second) = (Classes(model, "resnet20-cifar10/cifar10-jpeg-test-2000.bin", "unit"),
            Classes(quantized.Path, "resnet20-cifar10/cifar10-jpeg-test-2000.bin", "unit"));
        Assert.InRange(first.Zip(second).Count(pair => pair.First == pair.Second) / 2000d, 0.97, 1);
    }

    private OnnxQuantizationResult Quantize(
        string model, OnnxMode mode, string data, string? preprocessing, string? tokenizer = null, int bits = 8) => OnnxQuantizer.Run(
            model,
            folder.File("quantized.onnx"),
            Samples(model, data, preprocessing, tokenizer),
            new OnnxQuantizationOptions { Mode = mode, Bits = bits, TimingLimit = TimeSpan.Zero },
            cancellation: TestContext.Current.CancellationToken);

    private static IEnumerable<IReadOnlyList<NamedOnnxValue>> Samples(string model, string data, string? preprocessing, string? tokenizer)
    {
        using var session = OnnxRuntimeSession.Open(model, 1);
        var options = new SampleOptions
        {
            Images = preprocessing is null ? null : ImagePreprocessing.Parse(preprocessing),
            TokenizerFolder = tokenizer,
        };
        return SampleSource.Open([SharedData.Require(data)], GraphInputs.Of(session), options).Samples();
    }

    private static double Accuracy(string model, string data, string preprocessing, List<int> labels)
    {
        var found = Classes(model, data, preprocessing);
        Assert.Equal(labels.Count, found.Count);
        return (double)found.Zip(labels).Count(pair => pair.First == pair.Second) / labels.Count;
    }

    /// <summary>The class of each image, in a session without settings, as a user runs it.</summary>
    private static List<int> Classes(string model, string data, string preprocessing)
    {
        using var session = new InferenceSession(model);
        return [.. Samples(model, data, preprocessing, tokenizer: null).Select(sample =>
        {
            using var outputs = session.Run(sample);
            var scores = ((DenseTensor<float>)outputs[0].AsTensor<float>()).Buffer.Span;
            return TensorPrimitives.IndexOfMax(scores);
        })];
    }

    private static double Spearman(string model)
    {
        using var encoder = SentenceEncoder.Open(model);
        var pairs = File.ReadLines(SharedData.Require("sts-benchmark/test.tsv")).Select(line => line.Split('\t')).ToList();
        Assert.Equal(1379, pairs.Count);
        var (first, second) = (encoder.Encode([.. pairs.Select(pair => pair[0])]), encoder.Encode([.. pairs.Select(pair => pair[1])]));
        var cosines = first.Zip(second, (x, y) => (double)TensorPrimitives.CosineSimilarity<float>(x, y)).ToList();
        return Correlation(Ranks(cosines), Ranks([.. pairs.Select(pair => double.Parse(pair[2], CultureInfo.InvariantCulture))]));
    }

    /// <summary>Ranks, the mean one where values are equal.</summary>
    private static double[] Ranks(List<double> values)
    {
        var order = Enumerable.Range(0, values.Count).OrderBy(i => values[i]).ToArray();
        var ranks = new double[values.Count];
        for (var start = 0; start < order.Length;)
        {
            var end = start;
            while (end < order.Length && values[order[end]] == values[order[start]])
            {
                end++;
            }

            for (var i = start; i < end; i++)
            {
                ranks[order[i]] = (start + end - 1) / 2d;
            }

            start = end;
        }

        return ranks;
    }

    private static double Correlation(double[] x, double[] y)
    {
        var (meanX, meanY) = (x.Average(), y.Average());
        var (xy, xx, yy) = (0d, 0d, 0d);
        for (var i = 0; i < x.Length; i++)
        {
            xy += (x[i] - meanX) * (y[i] - meanY);
            xx += (x[i] - meanX) * (x[i] - meanX);
            yy += (y[i] - meanY) * (y[i] - meanY);
        }

        return xy / Math.Sqrt(xx * yy);
    }
}
