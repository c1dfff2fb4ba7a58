using System.IO.Compression;
using Microsoft.ML.OnnxRuntime;
using Nibble.Onnx.Data;
using Nibble.Onnx.Engine;
using Nibble.Tests.Shared;
using Nibble.Torch.Tests.Shared;
using static Nibble.Onnx.Tests.Data.DataFiles;

namespace Nibble.Onnx.Tests.Data;

/// <summary>Real models on real data through the readers, with the accuracy that is known of them.</summary>
public sealed class SampleSourceRealModelTests
{
    [Fact]
    public void ResNetClassifiesCifar()
    {
        using var session = OnnxRuntimeSession.Open(SharedData.Require("resnet20-cifar10/resnet20.onnx"), 1);
        var data = SharedData.Require("resnet20-cifar10/cifar10-test-first100.bin");
        var inputs = GraphInputs.Of(session);
        var source = SampleSource.Open([data], inputs, new SampleOptions { Images = ImagePreprocessing.Parse("imagenet,stretch") });
        var labels = File.ReadAllBytes(data).Where((_, i) => i % 3073 == 0).Select(label => (int)label);

        Assert.Equal(100, source.Count);
        Assert.Equal(94, labels.Zip(Classes(session, new BatchedSource(source, inputs, 32), 10), (label, found) => label == found ? 1 : 0).Sum());
    }

    [Fact]
    public void TheMnistModelReadsDigits()
    {
        using var session = OnnxRuntimeSession.Open(SharedData.Require("onnx/opt-mnist.onnx"), 1);
        var source = SampleSource.Open(
            [SharedData.Require("mnist/t10k-images-idx3-ubyte.gz")], GraphInputs.Of(session), new SampleOptions { Images = ImagePreprocessing.Parse("raw,nchw") });
        using var labels = new GZipStream(File.OpenRead(SharedData.Require("mnist/t10k-labels-idx1-ubyte.gz")), CompressionMode.Decompress);
        var bytes = new byte[8 + 500];
        labels.ReadExactly(bytes);

        Assert.Equal(10_000, source.Count);
        Assert.InRange(bytes.Skip(8).Zip(Classes(session, source, 10), (label, found) => label == found ? 1 : 0).Sum(), 485, 500);
    }

    [Theory]
    [InlineData("onnx/yunet_n_320_320.onnx", "raw,bgr")]
    [InlineData("onnx/version-RFB-320.onnx", "symmetric,std=128,mean=127")]
    [InlineData("onnx/ch_ppocr_mobile_v2.0_cls_infer.onnx", "symmetric,size=192x48")]
    [InlineData("onnx/pgd_2_3_16.onnx", "imagenet,stretch")]
    public void ImagesRun(string model, string preprocessing)
    {
        using var session = OnnxRuntimeSession.Open(SharedData.Require(model), 1);
        var source = SampleSource.Open([SharedData.Require("resnet20-cifar10/cifar10-test-first100.bin")], GraphInputs.Of(session),
            new SampleOptions { Images = ImagePreprocessing.Parse(preprocessing) });

        using var outputs = session.Run([.. source.Samples().First()]);
        Assert.NotEmpty(outputs);
    }

    [Fact]
    public void SileroRunsOverARecordingWithItsState()
    {
        using var folder = new TemporaryFolder();
        using var session = OnnxRuntimeSession.Open(SharedData.Require("onnx/silero_vad_16k_op15.onnx"), 1);
        var inputs = ShapeFix.Apply(GraphInputs.Of(session), [ShapeFix.Parse("input=1x512"), ShapeFix.Parse("state=2x1x128")]);
        var values = Enumerable.Range(0, 3 * 512).SelectMany(i => BitConverter.GetBytes((short)(8000 * Math.Sin(i * 0.1)))).ToArray();
        var path = WriteBytes(folder.File("a.wav"), Wav(1, 1, 16, values));
        (string, string)[] states = [("state", "stateN")];
        var source = SampleSource.Open([path], inputs, new SampleOptions { Constants = ConstantInputs.Parse(["sr=16000"], inputs), States = states });
        var feedback = new StateFeedback(states, inputs);
        var sums = new List<float>();

        foreach (var sample in source.Samples())
        {
            var complete = feedback.Complete(sample);
            SampleCheck.Require(complete, inputs, path);
            using var outputs = session.Run([.. complete]);
            feedback.Take(outputs);
            sums.Add(Floats(feedback.Complete(sample).Single(value => value.Name == "state")).Sum(Math.Abs));
        }

        Assert.Equal(3, sums.Distinct().Count());
        Assert.All(sums, sum => Assert.True(sum > 0));
    }

    [Fact]
    public void TextsBecomeTheInputsOfAnEncoder()
    {
        IReadOnlyList<GraphInput> inputs = [Integers("input_ids", null, null), Integers("attention_mask", null, null), Integers("token_type_ids", null, null)];
        var options = new SampleOptions { TokenizerFolder = SharedData.Require("all-MiniLM-L6-v2"), TextColumns = 2 };
        var pair = SampleSource.Open([SharedData.Require("sts-benchmark/dev.tsv")], inputs, options).Samples().First();
        var (ids, types) = (Longs(pair[0]), Longs(pair[2]));

        Assert.Equal(101, ids[0]);
        Assert.Equal(102, ids[^1]);
        Assert.Equal(2, ids.Count(id => id == 102));
        Assert.All(Longs(pair[1]), mask => Assert.Equal(1, mask));
        Assert.Equal(Array.IndexOf(ids, 102L) + 1, Array.IndexOf(types, 1L));

        var fixedInputs = inputs.Select(input => input with { Shape = [null, 32] }).ToList();
        var source = SampleSource.Open([SharedData.Require("sst2/dev.tsv")], fixedInputs, options with { TextColumns = 1 });
        var samples = source.Samples().ToList();
        Assert.Equal(872, samples.Count);
        Assert.All(samples, sample => Assert.Equal([1, 32], Shape(sample[0])));
        Assert.All(samples, sample => Assert.Equal(Longs(sample[0]).Count(id => id != 0), Longs(sample[1]).Sum()));
    }

    private static IEnumerable<int> Classes(InferenceSession session, ISampleSource source, int classes)
    {
        foreach (var sample in source.Samples())
        {
            using var outputs = session.Run([.. sample]);
            foreach (var row in Floats(outputs[0]).Chunk(classes))
            {
                yield return Array.IndexOf(row, row.Max());
            }
        }
    }
}
