using Google.Protobuf;
using Microsoft.ML.OnnxRuntime;
using Nibble.Onnx.Graphs;
using Nibble.Onnx.Quantization;
using Nibble.Onnx.Quantization.Equivalence;
using Nibble.Onnx.Tests.Quantization.Simulated;
using Nibble.Onnx.Tests.Shared;
using Nibble.Tests.Shared;
using Nibble.Torch.Tests.Shared;

namespace Nibble.Onnx.Tests.Quantization.Equivalence;

/// <summary>Scales move between layers, and what the graph computes stays.</summary>
public sealed class CrossLayerEqualizationTests
{
    private const int Channels = 6;

    private readonly TestModel model = new(13);
    private readonly Random random = new(5);

    [Fact]
    public void BothLayersGetTheGeometricMeanOfTheirRanges()
    {
        // Channel 0 has the ranges 8 and 0.5, so that s = sqrt(8 * 0.5) / 0.5 = 4; channel 1 has 0.25 and 4, so that s = 1 / 4.
        var hidden = model.Node("Relu", [model.Node("Gemm", [Row(2), model.Floats([8, 0.125f, -2, -0.25f], 2, 2), model.Floats([4, 1], 2)])]);
        model.Output(model.Node("Gemm", [hidden, model.Floats([0.5f, -0.25f, 1, -4], 2, 2)]));

        var (graph, done) = Equalize();

        Assert.Equal([["Gemm2", "Gemm7"]], done.Groups);
        var (first, second) = (graph.Nodes[0], graph.Nodes[2]);
        Assert.Equal([2, 0.5f, -0.5f, -1], graph.Constant(first.Input[1])!.Floats());
        Assert.Equal([1, 4], graph.Constant(first.Input[2])!.Floats());
        Assert.Equal([2, -1, 0.25f, -1], graph.Constant(second.Input[1])!.Floats());
    }

    [Fact]
    public void ADepthwiseChainGetsTheCubeRootOfTheProductOfItsRanges()
    {
        var first = model.Node("Relu", [Conv(Image(), Wide(Channels, 3, 1, 1), null)]);
        var middle = model.Node("LeakyRelu", [Conv(first, Wide(Channels, 1, 3, 3), null, NodeAttributes.Make("group", Channels))]);
        model.Output(Conv(middle, Wide(4, Channels, 1, 1), Wide(4)));
        var before = Ranges(new OnnxGraph(model.Model.Clone()));

        var (graph, done) = Equalize();

        Assert.Equal(2, done.Groups.Count);
        var after = Ranges(graph);
        for (var channel = 0; channel < Channels; channel++)
        {
            var expected = Math.Cbrt((double)before[0][channel] * before[1][channel] * before[2][channel]);
            Assert.All(after, layer => Assert.InRange(layer[channel], expected * 0.998, expected * 1.002));
        }
    }

    [Theory]
    [InlineData("Relu")]
    [InlineData("LeakyRelu")]
    [InlineData("PRelu")]
    [InlineData("Identity")]
    [InlineData("MaxPool")]
    [InlineData("AveragePool")]
    [InlineData("GlobalAveragePool")]
    [InlineData("Add")]
    [InlineData("ConvTranspose")]
    [InlineData("Groups")]
    public void TheFunctionStaysThroughEveryOperatorThatCommutes(string between)
    {
        var groups = NodeAttributes.Make("group", 2);
        var x = between switch
        {
            "ConvTranspose" => model.Node("ConvTranspose", [Image(4), Wide(4, Channels / 2, 3, 3), Wide(Channels)], groups),
            _ => Conv(Image(4), Wide(Channels, 2, 3, 3), Wide(Channels), groups),
        };
        AttributeProto[] window = [NodeAttributes.Make("kernel_shape", [2, 2]), NodeAttributes.Make("pads", [1, 0, 0, 1])];
        x = between switch
        {
            "PRelu" => model.Node("PRelu", [x, Wide(Channels, 1, 1)]),
            "MaxPool" or "AveragePool" => model.Node(between, [x], window),
            "Add" => model.Node("Add", [Wide(Channels, 1, 1), x]),
            "ConvTranspose" or "Groups" => x,
            _ => model.Node(between, [x]),
        };
        model.Type(x, OnnxType.Float32, between == "GlobalAveragePool" ? [1, Channels, 1, 1] : [1, Channels, 4, 4]);
        model.Output(between == "ConvTranspose" ? model.Node("ConvTranspose", [x, Wide(Channels, 2, 1, 1)], groups)
            : Conv(x, Wide(4, Channels / 2, 1, 1), null, groups));
        if (between == "Add")
        {
            model.Type(model.Model.Graph.Node[0].Output[0], OnnxType.Float32, [1, Channels, 4, 4]);
        }

        var (graph, done) = Equalize();

        Assert.Single(done.Groups);
        Assert.True(RangesDiffer(graph));
        RequireSameFunction(graph);
    }

    [Theory]
    [InlineData("Flatten", "Gemm")]
    [InlineData("Reshape", "Gemm")]
    [InlineData("Reshape", "MatMul")]
    [InlineData("Squeeze", "Gemm")]
    public void ChannelsAreFollowedIntoARow(string reshape, string product)
    {
        var isPoint = reshape == "Squeeze";
        var hidden = Conv(Image(), Wide(Channels, 3, isPoint ? 6 : 5, isPoint ? 6 : 5), Wide(Channels));
        var positions = isPoint ? 1 : 4;
        model.Type(hidden, OnnxType.Float32, isPoint ? [1, Channels, 1, 1] : [1, Channels, 2, 2]);
        var row = reshape switch
        {
            "Flatten" => model.Node("Flatten", [hidden]),
            "Reshape" => model.Node("Reshape", [hidden, model.Integers([1, -1], 2)]),
            _ => model.Node("Squeeze", [hidden, model.Integers([2, 3], 2)]),
        };
        model.Type(row, OnnxType.Float32, [1, Channels * positions]);
        model.Output(model.Node(product, [model.Node("Relu", [row]), Wide(Channels * positions, 3)]));

        var (graph, done) = Equalize();

        Assert.Single(done.Groups);
        RequireSameFunction(graph);
    }

    [Fact]
    public void ProductsWithABiasInANodeOfItsOwnAreAPair()
    {
        var hidden = model.Node("Relu", [model.Node("Add", [model.Node("MatMul", [Row(4), Wide(4, Channels)]), Wide(Channels)])]);
        model.Output(model.Node("Gemm", [hidden, Wide(3, Channels)], NodeAttributes.Make("transB", 1)));

        var (graph, done) = Equalize();

        Assert.Single(done.Groups);
        RequireSameFunction(graph);
    }

    [Fact]
    public void AGemmThatAddsOneNumberGetsOnePerChannel()
    {
        var hidden = model.Node("Gemm", [Row(4), Wide(4, Channels), model.Floats([0.7f], 1)], NodeAttributes.Make("beta", 0.5f));
        model.Output(model.Node("Gemm", [hidden, Wide(Channels, 3)]));

        var (graph, done) = Equalize();

        Assert.Single(done.Groups);
        Assert.Equal(Channels, graph.Constant(graph.Nodes[0].Input[2])!.Count());
        RequireSameFunction(graph);
    }

    [Theory]
    [InlineData("clip", "Clip follows, through which channels cannot be scaled")]
    [InlineData("sigmoid", "Sigmoid follows, through which channels cannot be scaled")]
    [InlineData("two readers", "several nodes read its result")]
    [InlineData("output", "its result is an output of the model")]
    [InlineData("shared", "its weight is shared")]
    [InlineData("shared second", "the layer behind it stays as it is: its weight is shared")]
    [InlineData("computed bias", "its bias is not a constant")]
    [InlineData("residual", "Add follows, through which channels cannot be scaled")]
    [InlineData("transposed", "Reshape follows, behind which its channels are not known to be in order")]
    [InlineData("excluded", "it is excluded")]
    public void WhatWouldChangeTheFunctionIsLeft(string fault, string reason)
    {
        var (x, second) = (Image(), Wide(Channels, Channels, 1, 1));
        var weight = Wide(Channels, 3, 1, 1);
        var bias = fault == "computed bias" ? model.Node("Relu", [model.Input("b", OnnxType.Float32, Channels)]) : Wide(Channels);
        var hidden = Conv(x, weight, bias);
        var between = fault switch
        {
            "clip" => model.Node("Clip", [hidden, model.Floats([0]), model.Floats([6])]),
            "sigmoid" => model.Node("Sigmoid", [hidden]),
            "residual" => model.Node("Add", [hidden, Image(Channels, "r")]),
            "transposed" => model.Node("Reshape", [hidden, model.Integers([1, Channels, 9, 4], 4)]),
            _ => model.Node("Relu", [hidden]),
        };
        model.Output(Conv(between, second, null));
        if (fault == "output")
        {
            model.Output(hidden);
        }
        else if (fault == "two readers")
        {
            model.Output(Conv(between, Wide(2, Channels, 1, 1), null));
        }
        else if (fault is "shared" or "shared second")
        {
            model.Output(fault == "shared" ? Conv(x, weight, null) : Conv(Image(Channels, "z"), second, null));
        }

        var before = model.Model.Clone();
        var graph = new OnnxGraph(model.Model);
        var done = CrossLayerEqualization.Apply(graph, node => fault == "excluded" ? "it is excluded" : null, CancellationToken.None);

        Assert.Empty(done.Groups);
        Assert.Contains(reason, done.Skipped.Select(layer => layer.Reason));
        Assert.Equal(before.Graph.Initializer, graph.Proto.Initializer);
    }

    [Fact]
    public void ChannelsWithoutWeightsKeepTheirScaleAndFactorsAreBounded()
    {
        // Channel 0 has no weights in the first layer, channel 1 none in the second, channel 2 nothing but noise. Channel 3 would be multiplied by 10^6.
        var hidden = model.Node("Gemm", [Row(1), model.Floats([0, 3, 1e-9f, 1e-6f], 1, 4), model.Floats([1, 2, 3, 1e-6f], 4)]);
        model.Output(model.Node("Gemm", [hidden, model.Floats([5, 0, 1, 1e6f], 4, 1)]));

        var (graph, done) = Equalize();

        Assert.Single(done.Groups);
        Assert.Equal([1, 2, 3], graph.Constant(graph.Nodes[0].Input[2])!.Floats()[..3]);
        Assert.Equal(65536e-6, graph.Constant(graph.Nodes[0].Input[2])!.Floats()[3], 1e-7);
        Assert.Equal([5, 0, 1], graph.Constant(graph.Nodes[1].Input[1])!.Floats()[..3]);
        RequireSameFunction(graph);
    }

    [Fact]
    public void RandomGraphsComputeTheSame()
    {
        var pairs = 0;
        for (var seed = 10_000; seed < 10_150; seed++)
        {
            var made = RandomGraphs.Make(seed);
            using var folder = new TemporaryFolder();
            File.WriteAllBytes(folder.File("float.onnx"), made.Model.ToByteArray());
            var prepared = PreparedModel.Open(folder.File("float.onnx"), folder.Path);
            var graph = prepared.Graph();
            pairs += CrossLayerEqualization.Apply(graph, _ => null, CancellationToken.None).Groups.Count;
            Compare(prepared.Graph().Model, graph.Model, made.Samples(2), made.ToString());
        }

        // So many that the graphs tested something.
        Assert.InRange(pairs, 10, int.MaxValue);
    }

    [Fact]
    public void ABadlyScaledModelLosesMuchWithoutEqualizationAndLittleWithIt()
    {
        using var folder = new TemporaryFolder();
        var factors = Enumerable.Range(0, 16).Select(_ => MathF.Pow(1000, random.NextSingle())).ToArray();
        float[] first = [.. Numbers(16 * 3 * 9).Select((value, i) => value * factors[i / 27])];
        float[] second = [.. Numbers(8 * 16).Select((value, i) => value / factors[i % 16])];
        var hidden = model.Node("Relu", [Conv(Image(), model.Floats(first, 16, 3, 3, 3), model.Floats(factors, 16))]);
        model.Output(Conv(hidden, model.Floats(second, 8, 16, 1, 1), null));
        File.WriteAllBytes(folder.File("float.onnx"), model.Model.ToByteArray());
        var samples = Enumerable.Range(0, 40).Select(_ => (IReadOnlyCollection<NamedOnnxValue>)[Sample("x", [1, 3, 6, 6])]).ToList();

        var decibels = Array.ConvertAll([false, true], equalizes => Assert.Single(OnnxQuantizer.Run(
            folder.File("float.onnx"),
            folder.File($"{equalizes}.onnx"),
            samples,
            new OnnxQuantizationOptions { Mode = OnnxMode.Static, TimingLimit = TimeSpan.Zero, EqualizesLayers = equalizes }).Outputs).Decibels!.Value);

        Assert.InRange(decibels[0], -5, 22);
        Assert.InRange(decibels[1], 32, 60);
    }

    [Fact]
    public void TheResultAndTheFileSayWhatWasDoneAndIdleAlgorithmsAreWarnedOf()
    {
        using var folder = new TemporaryFolder();
        model.Output(model.Node("Gemm", [model.Node("Relu", [model.Node("Gemm", [Row(4), Wide(4, Channels)])]), Wide(Channels, 3)]));
        File.WriteAllBytes(folder.File("float.onnx"), model.Model.ToByteArray());
        var told = new List<string>();

        var result = OnnxQuantizer.Run(
            folder.File("float.onnx"),
            folder.File("quantized.onnx"),
            [.. Enumerable.Range(0, 10).Select(_ => (IReadOnlyCollection<NamedOnnxValue>)[Sample("x", [1, 4])])],
            new OnnxQuantizationOptions
            {
                Mode = OnnxMode.Static,
                TimingLimit = TimeSpan.Zero,
                EqualizesLayers = true,
                SmoothsActivations = true,
                Logger = new ListLogger(told),
            });

        Assert.Equal(["cle", "smooth"], result.Transformations.Select(done => done.Name));
        Assert.Equal([1, 0], result.Transformations.Select(done => done.Groups.Count));
        Assert.EndsWith(
            ", algorithms: cle (1), smooth (0), bias",
            OnnxModelReader.Read(result.Path).Model.MetadataProps.Single(entry => entry.Key == "nibble.quantization").Value,
            StringComparison.Ordinal);
        Assert.Equal(
            "The algorithm smooth changed nothing: no layer is suitable (most often: its input does not come from a normalization with a constant scale)",
            Assert.Single(told));
        Assert.All(result.Layers, layer => Assert.InRange(layer.Decibels!.Value, 20, double.PositiveInfinity));
    }

    private (OnnxGraph Graph, GraphTransformation Done) Equalize()
    {
        var graph = new OnnxGraph(model.Model.Clone());
        return (graph, CrossLayerEqualization.Apply(graph, _ => null, CancellationToken.None));
    }

    private void RequireSameFunction(OnnxGraph graph)
    {
        var samples = Enumerable.Range(0, 3).Select(_ => graph.Inputs.Select(
            input => Sample(input.Name, [.. TensorType.Of(input)!.Shape!.Select(size => (int)size!.Value)])).ToList()).ToList();
        Compare(model.Model, graph.Model, samples, "the graph");
    }

    private static void Compare(ModelProto expected, ModelProto found, IReadOnlyList<IReadOnlyList<NamedOnnxValue>> samples, string what) =>
        EquivalenceCheck.RequireSame(expected, found, samples, what);

    private NamedOnnxValue Sample(string name, int[] shape) => EquivalenceCheck.Sample(random, name, shape);

    private static bool RangesDiffer(OnnxGraph graph) => graph.Proto.Initializer.Any(tensor => tensor.Name.EndsWith("/scaled", StringComparison.Ordinal));

    /// <summary>The ranges of the channels in a chain of a convolution, a depthwise one and a third one.</summary>
    private static float[][] Ranges(OnnxGraph graph)
    {
        var weights = graph.Nodes.Where(node => node.OpType == "Conv").Select(node => graph.Constant(node.Input[1])!).ToList();
        return [
            PerChannel(weights[0], i => i / 3),
            PerChannel(weights[1], i => i / 9),
            PerChannel(weights[2], i => i % Channels),
        ];
    }

    private static float[] PerChannel(TensorProto weight, Func<int, int> channel)
    {
        var ranges = new float[Channels];
        foreach (var (value, i) in weight.Floats().Select((value, i) => (value, i)))
        {
            ranges[channel(i)] = Math.Max(ranges[channel(i)], Math.Abs(value));
        }

        return ranges;
    }

    private string Row(int channels) => model.Input("x", OnnxType.Float32, 1, channels);

    private string Image(int channels = 3, string name = "x") => model.Input(name, OnnxType.Float32, 1, channels, 6, 6);

    private string Conv(string x, string weight, string? bias, params AttributeProto[] attributes) =>
        model.Node("Conv", bias is null ? [x, weight] : [x, weight, bias], attributes);

    /// <summary>Constants whose ranges differ widely.</summary>
    private string Wide(params long[] shape)
    {
        var count = (int)shape.Aggregate(1L, (product, size) => product * size);
        return model.Floats(Array.ConvertAll(Numbers(count), value => value * MathF.Pow(30, random.NextSingle())), shape);
    }

    private float[] Numbers(int count) => [.. Enumerable.Range(0, count).Select(_ => RandomGraphs.Normal(random))];
}
