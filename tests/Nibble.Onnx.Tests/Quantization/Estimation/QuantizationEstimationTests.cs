using Microsoft.ML.OnnxRuntime;
using Microsoft.ML.OnnxRuntime.Tensors;
using Nibble.Onnx.Graphs;
using Nibble.Onnx.Quantization;
using Nibble.Onnx.Quantization.Estimation;
using Nibble.Onnx.Tests.Shared;
using Nibble.Recipes;
using Nibble.Tests.Shared;
using Nibble.Torch.Tests.Shared;

namespace Nibble.Onnx.Tests.Quantization.Estimation;

/// <summary>What is said before a quantization, and what limited memory changes: nothing in the result.</summary>
public sealed class QuantizationEstimationTests : IDisposable
{
    private readonly TemporaryFolder folder = new();
    private readonly string model;

    public QuantizationEstimationTests()
    {
        model = folder.File("float.onnx");
        OnnxWriter.Write(model, Network().Model);
    }

    public void Dispose() => folder.Dispose();

    [Theory]
    [InlineData(OnnxMode.Static)]
    [InlineData(OnnxMode.Dynamic)]
    [InlineData(OnnxMode.Weights)]
    public void TheEstimateIsWhatTheRunGives(OnnxMode mode)
    {
        var options = new OnnxQuantizationOptions { Mode = mode, TimingLimit = TimeSpan.Zero, Exclude = ["excluded"] };

        var estimate = OnnxQuantizer.Estimate(model, Samples(20), options, TestContext.Current.CancellationToken);

        Assert.Empty(Directory.GetFiles(folder.Path).Except([model]));
        var result = OnnxQuantizer.Run(model, folder.File("quantized.onnx"), Samples(20), options);
        var only = Assert.Single(estimate.Modes);
        Assert.Equal(result.Nodes, only.Nodes);
        Assert.InRange(only.Bytes, result.Bytes * 0.99, result.Bytes * 1.01);
        Assert.Equal(result.SourceBytes, estimate.SourceBytes);
        Assert.Equal(mode == OnnxMode.Static ? 1 : 0, estimate.Passes);
    }

    [Fact]
    public void AllModesAreEstimatedIfTheFastestIsLookedFor()
    {
        var estimate = OnnxQuantizer.Estimate(model, Samples(20), new OnnxQuantizationOptions());

        Assert.Equal([OnnxMode.Static, OnnxMode.Dynamic, OnnxMode.Weights], estimate.Modes.Select(mode => mode.Mode));
        Assert.Equal(2, estimate.Notes.Count);
    }

    [Fact]
    public void SizesAreThoseOfOneRun()
    {
        var prepared = PreparedModel.Open(model, folder.Path);

        var sizes = ValueSizes.Measure(prepared, Samples(1).First(), new OnnxQuantizationOptions());

        var convolution = prepared.Graph().Nodes.First(node => node.OpType == "Conv");
        Assert.Equal(4 * 8 * 8 * 8, sizes.Of(convolution.Output[0]));
        Assert.Equal(4 * 3 * 8 * 8, sizes.SampleBytes);

        // The residual connection keeps the first value while two others are computed.
        Assert.Equal(3 * 4 * 8 * 8 * 8, sizes.LiveBytes);
    }

    [Fact]
    public void TheLargestSampleCounts()
    {
        var free = folder.File("free.onnx");
        var network = new TestModel(13);
        OnnxWriter.Write(free, network.Output(network.Node("Relu", [network.Input("x", OnnxType.Float32, null, 4)])).Model);
        IReadOnlyCollection<NamedOnnxValue> Sample(int rows) => [NamedOnnxValue.CreateFromTensor("x", new DenseTensor<float>([rows, 4]))];

        var largest = ValueSizes.LargestOf(PreparedModel.Open(free, folder.Path), [Sample(2), Sample(7), Sample(3)], new OnnxQuantizationOptions(), default);

        Assert.Equal(28, ((DenseTensor<float>)largest.Single().AsTensor<float>()).Length);
    }

    [Fact]
    public void PartsKeepTheOrderAndTheLimit()
    {
        var prepared = PreparedModel.Open(model, folder.Path);
        var values = prepared.Graph().Nodes.Select(node => node.Output[0]).ToList();
        var sizes = ValueSizes.Measure(prepared, Samples(1).First(), new OnnxQuantizationOptions());

        var parts = Plan(prepared, Samples(1).First(), share: 0.4).Parts(values);

        Assert.Equal(values, parts.SelectMany(part => part));
        Assert.InRange(parts.Count, 3, 4);
        Assert.All(parts, part => Assert.InRange(part.Sum(sizes.Of), 1, values.Sum(sizes.Of) * 0.4));
        Assert.Single(MemoryPlan.Unlimited.Parts(values));
        Assert.Empty(Assert.Single(MemoryPlan.Unlimited.Parts([])));
    }

    [Fact]
    public void TooLittleMemoryIsAnErrorThatSaysHowMuchItTakes()
    {
        var error = Assert.Throws<NibbleException>(() => OnnxQuantizer.Run(
            model, folder.File("quantized.onnx"), Samples(20), new OnnxQuantizationOptions { Mode = OnnxMode.Static, MemoryBytes = 1_000_000 }));

        Assert.Matches(@"takes up to \d+ MB of memory, even if it watches values one at a time, and only 1 MB are allowed", error.Message);
        Assert.False(File.Exists(folder.File("quantized.onnx")));
    }

    [Theory]
    [InlineData(ObserverKind.Mse, OnnxMode.Static, null)]
    [InlineData(ObserverKind.MinMax, OnnxMode.Static, 0.01)]
    [InlineData(ObserverKind.Mse, OnnxMode.Weights, null)]
    public void PartsGiveTheSameBytes(ObserverKind ranges, OnnxMode mode, double? loss)
    {
        var options = new OnnxQuantizationOptions
        {
            Mode = mode,
            Ranges = ranges,
            MaxLoss = loss,
            Rounding = mode == OnnxMode.Weights ? WeightRounding.Gptq : WeightRounding.RoundToNearest,
        };

        RequireSame(model, Samples(20), options);
    }

    [Fact]
    public void PartsOfRealNetworksGiveTheSameBytes()
    {
        (string, int)[] networks = [("resnet20-cifar10/resnet20.onnx", 32), ("onnx/pgd_2_3_16.onnx", 32), ("onnx/yunet_n_320_320.onnx", 320)];
        foreach (var (name, size) in networks)
        {
            var path = SharedData.Require(name);
            RequireSame(
                path, Images(size, 6, OnnxModelReader.Read(path).Inputs.First().Name), new OnnxQuantizationOptions { Mode = OnnxMode.Static });
        }
    }

    [Fact]
    public void TheSeedDecidesWhichSamplesAreHeldBack()
    {
        byte[] Bytes(long seed)
        {
            File.Delete(folder.File("seeded.onnx"));
            var options = new OnnxQuantizationOptions { Mode = OnnxMode.Static, Seed = seed, TimingLimit = TimeSpan.Zero };
            return File.ReadAllBytes(OnnxQuantizer.Run(model, folder.File("seeded.onnx"), Samples(20), options).Path);
        }

        var first = Bytes(7);

        Assert.Equal(first, Bytes(7));
        Assert.NotEqual(first, Bytes(8));
    }

    [Theory]
    [InlineData(1, new[] { 4, 9 })]
    [InlineData(2, new[] { 0, 5, 10 })]
    [InlineData(-1, new[] { 2, 7 })]
    [InlineData(long.MaxValue, new[] { 0, 5, 10 })]
    [InlineData(long.MinValue, new[] { 0, 5, 10 })]
    public void OneOfEachFiveIsHeldBack(long seed, int[] expected)
    {
        var samples = Samples(11).ToList();

        var split = new SampleSplit(samples, new OnnxQuantizationOptions { Seed = seed });

        Assert.Equal(expected, split.HeldOut.Select(sample => samples.IndexOf(sample)));
        Assert.Equal(Enumerable.Range(0, 11).Except(expected), split.Calibration.Select(sample => samples.IndexOf(sample)));
    }

    /// <summary>Quantizes with all values at once and in parts, and requires the same file and the same differences.</summary>
    private static void RequireSame(string path, IEnumerable<IReadOnlyCollection<NamedOnnxValue>> samples, OnnxQuantizationOptions options)
    {
        var results = new List<(byte[] Bytes, OnnxQuantizationResult Result)>();
        foreach (var share in (double?[])[null, 0.4])
        {
            using var work = new TemporaryFolder();
            var prepared = PreparedModel.Open(path, work.Path);
            prepared.Memory = share is { } part ? Plan(prepared, samples.First(), part) : MemoryPlan.Unlimited;
            var limited = options with { TimingLimit = TimeSpan.Zero, AllowSaturation = true };
            var result = new OnnxQuantization(prepared, new SampleSplit(samples, limited), limited, null, default).Run(work.File("result.onnx"));
            results.Add((File.ReadAllBytes(result.Path), result));
        }

        Assert.Equal(results[0].Bytes, results[1].Bytes);
        Assert.Equal(results[0].Result.Layers, results[1].Result.Layers);
        Assert.Equal(results[0].Result.Outputs, results[1].Result.Outputs);
    }

    /// <summary>A plan that leaves room for a share of the values of all nodes at a time.</summary>
    private static MemoryPlan Plan(PreparedModel prepared, IReadOnlyCollection<NamedOnnxValue> sample, double share)
    {
        var sizes = ValueSizes.Measure(prepared, sample, new OnnxQuantizationOptions());
        var values = prepared.Graph().Nodes.SelectMany(node => node.Output).ToList();
        var needs = new MemoryNeeds(0, 0, 0, 0, 0, values, Copies: 1);
        var free = MemoryPlan.Of(needs, sizes, limit: null);
        var all = values.Sum(sizes.Of);
        return MemoryPlan.Of(needs, sizes, free.PeakBytes - all + (long)Math.Max(all * share, values.Max(sizes.Of)));
    }

    private static IEnumerable<IReadOnlyCollection<NamedOnnxValue>> Samples(int count) => Images(8, count, "x");

    private static IEnumerable<IReadOnlyCollection<NamedOnnxValue>> Images(int size, int count, string name) => Enumerable.Range(0, count).Select(seed =>
        (IReadOnlyCollection<NamedOnnxValue>)[NamedOnnxValue.CreateFromTensor(
            name, new DenseTensor<float>(TestGraph.Numbers(seed, 3 * size * size), [1, 3, size, size]))]);

    private static TestModel Network()
    {
        var network = new TestModel(13);
        var first = network.Node("Relu", [Convolution(network.Input("x", OnnxType.Float32, 1, 3, 8, 8), 3, 1)]);
        var second = network.Node("Relu", [Convolution(first, 8, 2)]);
        var sum = network.Node("Add", [first, Convolution(second, 8, 3)]);
        network.Model.Graph.Node[^2].Name = "excluded";
        var pooled = network.Node("Flatten", [network.Node("GlobalAveragePool", [sum])]);
        var logits = network.Node("MatMul", [pooled, network.Floats(TestGraph.Numbers(9, 5 * 8), 8, 5)]);
        return network.Output(network.Node("Softmax", [logits]));

        string Convolution(string input, int inputs, int seed) => network.Node(
            "Conv",
            [input, network.Floats([.. TestGraph.Numbers(seed, 8 * inputs * 9).Select(value => value / 4)], 8, inputs, 3, 3),
                network.Floats(TestGraph.Numbers(seed + 20, 8), 8)],
            NodeAttributes.Make("pads", [1L, 1, 1, 1]));
    }
}
