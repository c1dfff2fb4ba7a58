using Microsoft.ML.OnnxRuntime;
using Microsoft.ML.OnnxRuntime.Tensors;
using Nibble.Onnx.Graphs;
using Nibble.Onnx.Quantization;
using Nibble.Onnx.Tests.Shared;
using Nibble.Torch.Tests.Shared;

namespace Nibble.Onnx.Tests.Quantization;

/// <summary>What becomes of a small network with a residual connection, a head and a tail in float.</summary>
public sealed class OnnxQuantizerTests : IDisposable
{
    private const int Channels = 8;

    private readonly TemporaryFolder folder = new();
    private readonly string model;

    public OnnxQuantizerTests()
    {
        model = folder.File("float.onnx");
        OnnxWriter.Write(model, Network(operatorSet: 13).Model);
    }

    public void Dispose() => folder.Dispose();

    [Fact]
    public void IslandsAreIntegerAndTheRestSaysWhyNot()
    {
        var result = Run(new OnnxQuantizationOptions { Mode = OnnxMode.Static });

        var kept = result.Nodes.ToLookup(node => node.Operator, node => node.Kept);
        Assert.All(kept["Conv"].Concat(kept["Relu"]).Concat(kept["Add"]).Concat(kept["GlobalAveragePool"]).Concat(kept["Flatten"]).Concat(kept["Gemm"]), Assert.Null);
        Assert.Equal("ONNX Runtime has no integer kernel for Softmax", Assert.Single(kept["Softmax"]));
        Assert.InRange(Assert.Single(result.Outputs).Decibels!.Value, 25, 80);
        Assert.NotEmpty(result.Layers);
        Assert.True(result.IsHeldOut);
        Assert.Equal(16, result.CalibrationSamples);
        Assert.Equal(4, result.ComparedSamples);
        Assert.Equal(new FileInfo(result.Path).Length, result.Bytes);
    }

    [Fact]
    public void OnnxRuntimeFusesEveryIntegerNode()
    {
        var result = Run(new OnnxQuantizationOptions { Mode = OnnxMode.Static });

        var optimized = folder.File("optimized.onnx");
        using (var settings = new SessionOptions { OptimizedModelFilePath = optimized })
        {
            settings.GraphOptimizationLevel = GraphOptimizationLevel.ORT_ENABLE_EXTENDED;
            using var session = new InferenceSession(result.Path, settings);
        }

        var operators = OnnxModelReader.Read(optimized).Nodes.Select(node => node.OpType).ToList();
        Assert.Equal(3, operators.Count(name => name == "QLinearConv"));
        Assert.Contains("QLinearAdd", operators);
        Assert.Contains("QLinearGlobalAveragePool", operators);
        Assert.Contains("QGemm", operators);
        Assert.DoesNotContain("Conv", operators);
        Assert.DoesNotContain("Relu", operators);
    }

    [Theory]
    [InlineData("Gemm", "Gemm")]
    [InlineData("h*d", "Gemm")]
    [InlineData("after:head", "Softmax")]
    public void NodesAreExcludedByNameGlobOperatorAndPlace(string pattern, string expected)
    {
        var result = Run(new OnnxQuantizationOptions { Mode = OnnxMode.Static, Exclude = [pattern] });

        Assert.Equal("it is excluded", result.Nodes.First(node => node.Operator == expected).Kept);
        Assert.All(result.Nodes.Where(node => node.Operator == "Conv"), node => Assert.Null(node.Kept));
    }

    [Fact]
    public void OnlyTheChosenNodesAreQuantized()
    {
        var result = Run(new OnnxQuantizationOptions { Mode = OnnxMode.Static, Only = ["before:head"] });

        Assert.Equal("it is not among the chosen nodes", result.Nodes.Single(node => node.Operator == "Gemm").Kept);
        Assert.All(result.Nodes.Where(node => node.Operator == "Conv"), node => Assert.Null(node.Kept));
    }

    [Fact]
    public void APatternThatMatchesNothingIsAnError()
    {
        var error = Assert.Throws<NibbleException>(() => Run(new OnnxQuantizationOptions { Mode = OnnxMode.Static, Exclude = ["Convolution"] }));

        Assert.StartsWith("No node of the model matches 'Convolution'. Expected a node's name", error.Message, StringComparison.Ordinal);
        Assert.False(File.Exists(folder.File("quantized.onnx")));
    }

    [Fact]
    public void AFileThatIsQuantizedAlreadyIsRefused()
    {
        var quantized = Run(new OnnxQuantizationOptions { Mode = OnnxMode.Static }).Path;

        var error = Assert.Throws<NibbleException>(() => OnnxQuantizer.Run(quantized, folder.File("again.onnx"), Samples(20)));
        Assert.Contains("quantized already", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void AnExistingFileIsNotReplaced()
    {
        File.WriteAllText(folder.File("quantized.onnx"), "mine");

        Assert.Contains("exists already", Assert.Throws<NibbleException>(() => Run(new OnnxQuantizationOptions())).Message, StringComparison.Ordinal);
        Assert.Equal("mine", File.ReadAllText(folder.File("quantized.onnx")));
    }

    [Fact]
    public void TheSameSamplesGiveTheSameBytes()
    {
        var options = new OnnxQuantizationOptions { Mode = OnnxMode.Static };

        var first = File.ReadAllBytes(Run(options, "first.onnx").Path);
        Assert.Equal(first, File.ReadAllBytes(Run(options, "second.onnx").Path));
    }

    [Fact]
    public void TheMostSensitiveNodesReturnToFloatUntilTheLossIsWithinTheLimit()
    {
        var free = Run(new OnnxQuantizationOptions { Mode = OnnxMode.Static }, "free.onnx");
        var limit = free.Outputs[0].RelativeError!.Value * 0.7;

        var limited = Run(new OnnxQuantizationOptions { Mode = OnnxMode.Static, MaxLoss = limit }, "limited.onnx");

        Assert.InRange(limited.Nodes.Count(node => node.Kept == "quantizing it would take the loss above the limit"), 1, 3);
        Assert.InRange(limited.Outputs[0].RelativeError!.Value, 0, limit * 1.3);
    }

    [Fact]
    public void AutoTakesTheFastestModeWithinTheLimit()
    {
        var result = Run(new OnnxQuantizationOptions { MaxLoss = 0.5 });

        Assert.Equal([OnnxMode.Static, OnnxMode.Dynamic, OnnxMode.Weights], result.Trials.Select(trial => trial.Mode));
        var chosen = result.Trials.Single(trial => trial.Mode == result.Mode);
        Assert.InRange(chosen.Loss, 0, 0.5);
        Assert.InRange(chosen.Ratio, 0.95 * result.Trials.Where(trial => trial.Loss <= 0.5).Max(trial => trial.Ratio), double.PositiveInfinity);
    }

    [Theory]
    [InlineData(8)]
    [InlineData(11)]
    public void OldOperatorSetsAreLifted(int operatorSet)
    {
        OnnxWriter.Write(folder.File("old.onnx"), Network(operatorSet).Model);

        var result = OnnxQuantizer.Run(
            folder.File("old.onnx"), folder.File("quantized.onnx"), Samples(20),
            new OnnxQuantizationOptions { Mode = OnnxMode.Static }, cancellation: TestContext.Current.CancellationToken);

        Assert.InRange(OnnxModelReader.Read(result.Path).OperatorSet, 13, 30);
        Assert.All(result.Nodes.Where(node => node.Operator is "Conv" or "Gemm" or "Add"), node => Assert.Null(node.Kept));
    }

    /// <summary>The bias of the first channel is so large beside its weights that its code has 41 bits at the scale that suits the weights.</summary>
    [Fact]
    public void ABiasThatDoesNotFitRaisesTheScaleOfItsWeights()
    {
        var network = new TestModel(17);
        var x = network.Input("x", OnnxType.Float32, 1, 3, 8, 8);
        var weights = TestGraph.Numbers(1, 6).Select((value, i) => i < 3 ? value * 1e-6f : value);
        OnnxWriter.Write(folder.File("biased.onnx"), network.Output(network.Node(
            "Conv", [x, network.Floats([.. weights], 2, 3, 1, 1), network.Floats([100, 1], 2)])).Model);

        var result = OnnxQuantizer.Run(
            folder.File("biased.onnx"), folder.File("quantized.onnx"), Samples(20),
            new OnnxQuantizationOptions { Mode = OnnxMode.Static, TimingLimit = TimeSpan.Zero }, cancellation: TestContext.Current.CancellationToken);

        var convolution = result.Nodes.Single(node => node.Operator == "Conv");
        Assert.Equal((null, 1), (convolution.Kept, convolution.BiasChannels));
        Assert.InRange(result.Outputs[0].RelativeError!.Value, 0, 0.01);
    }

    [Fact]
    public void AnInputThatIsAnOutputStaysFloatThere()
    {
        var network = new TestModel(17);
        var x = network.Input("x", OnnxType.Float32, 1, 3, 8, 8);
        network.Output(x);
        OnnxWriter.Write(
            folder.File("passing.onnx"), network.Output(network.Node("Conv", [x, network.Floats(TestGraph.Numbers(1, 6), 2, 3, 1, 1)])).Model);

        var result = OnnxQuantizer.Run(
            folder.File("passing.onnx"), folder.File("quantized.onnx"), Samples(20),
            new OnnxQuantizationOptions { Mode = OnnxMode.Static, TimingLimit = TimeSpan.Zero }, cancellation: TestContext.Current.CancellationToken);

        Assert.Null(result.Nodes.Single(node => node.Operator == "Conv").Kept);
        Assert.Equal(0, result.Outputs.Single(output => output.Name == x).RelativeError);
    }

    [Fact]
    public void FewSamplesAreSaidToBeTheSame()
    {
        var result = OnnxQuantizer.Run(
            model, folder.File("quantized.onnx"), Samples(3), new OnnxQuantizationOptions { Mode = OnnxMode.Static }, cancellation: TestContext.Current.CancellationToken);

        Assert.False(result.IsHeldOut);
        Assert.Equal(3, result.ComparedSamples);
    }

    [Fact]
    public void NoSamplesAreAnError() => Assert.Equal(
        "There are no samples to calibrate on.",
        Assert.Throws<NibbleException>(() => OnnxQuantizer.Run(
            model, folder.File("quantized.onnx"), [], new OnnxQuantizationOptions { Mode = OnnxMode.Static })).Message);

    private OnnxQuantizationResult Run(OnnxQuantizationOptions options, string name = "quantized.onnx") => OnnxQuantizer.Run(
        model, folder.File(name), Samples(20), options with { TimingLimit = TimeSpan.Zero }, cancellation: TestContext.Current.CancellationToken);

    private static IEnumerable<IReadOnlyCollection<NamedOnnxValue>> Samples(int count) => Enumerable.Range(0, count).Select(seed =>
        (IReadOnlyCollection<NamedOnnxValue>)[NamedOnnxValue.CreateFromTensor("x", new DenseTensor<float>(TestGraph.Numbers(seed, 3 * 8 * 8), [1, 3, 8, 8]))]);

    private static TestModel Network(int operatorSet)
    {
        var network = new TestModel(operatorSet);
        var x = network.Input("x", OnnxType.Float32, null, 3, 8, 8);
        var first = network.Node("Relu", [Convolution(x, 3, 1)]);
        var second = network.Node("Relu", [Convolution(first, Channels, 2)]);
        var sum = network.Node("Relu", [network.Node("Add", [first, Convolution(second, Channels, 3)])]);
        var pooled = network.Node("Flatten", [network.Node("GlobalAveragePool", [sum])]);
        var logits = network.Node(
            "Gemm", [pooled, network.Floats(TestGraph.Numbers(9, 5 * Channels), 5, Channels), network.Floats(TestGraph.Numbers(10, 5), 5)], NodeAttributes.Make("transB", 1L));
        network.Model.Graph.Node[^1].Name = "head";
        return network.Output(network.Node("Softmax", [logits]));

        string Convolution(string input, int inputs, int seed) => network.Node(
            "Conv",
            [input, network.Floats([.. TestGraph.Numbers(seed, Channels * inputs * 9).Select(value => value / 4)], Channels, inputs, 3, 3),
                network.Floats(TestGraph.Numbers(seed + 20, Channels), Channels)],
            NodeAttributes.Make("pads", [1L, 1, 1, 1]));
    }
}
