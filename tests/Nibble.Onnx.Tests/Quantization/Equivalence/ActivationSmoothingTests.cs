using Google.Protobuf;
using Microsoft.ML.OnnxRuntime;
using Microsoft.ML.OnnxRuntime.Tensors;
using Nibble.Onnx.Graphs;
using Nibble.Onnx.Quantization;
using Nibble.Onnx.Quantization.Equivalence;
using Nibble.Onnx.Tests.Quantization.Simulated;
using Nibble.Onnx.Tests.Shared;
using Nibble.Torch.Tests.Shared;

namespace Nibble.Onnx.Tests.Quantization.Equivalence;

/// <summary>Outliers of activations move into weights, and what the graph computes stays.</summary>
public sealed class ActivationSmoothingTests : IDisposable
{
    private const int Channels = 8;
    private const int Outlier = 3;

    private readonly TemporaryFolder folder = new();
    private readonly TestModel model = new(17);
    private readonly Random random = new(9);

    public void Dispose() => folder.Dispose();

    [Fact]
    public void FactorsAreThoseOfThePaper()
    {
        // Channel 0: max |X| = 8 and max |W| = 0.5 over both products, so that s = sqrt(8 / 0.5) = 4. Channel 1: 1 and 4, so that s = 1 / 2.
        var x = model.Node("Mul", [model.Input("x", OnnxType.Float32, 1, 2), model.Floats([8, 1], 2)]);
        model.Output(model.Node("MatMul", [x, model.Floats([0.5f, 0.25f, 2, 4], 2, 2)]));
        model.Output(model.Node("Gemm", [x, model.Floats([-0.125f, 1], 1, 2)], NodeAttributes.Make("transB", 1)));

        var (graph, done) = Smooth([[NamedOnnxValue.CreateFromTensor("x", new DenseTensor<float>(new[] { -1f, 1 }, [1, 2]))]]);

        Assert.Equal([2], done.Groups.Select(group => group.Count));
        Assert.Equal([2, 2], graph.Constant(graph.Nodes[0].Input[1])!.Floats());
        Assert.Equal([2, 1, 1, 2], graph.Constant(graph.Nodes[1].Input[1])!.Floats());
        Assert.Equal([-0.5f, 0.5f], graph.Constant(graph.Nodes[2].Input[1])!.Floats());
    }

    [Theory]
    [InlineData("LayerNormalization")]
    [InlineData("LayerNormalization without bias")]
    [InlineData("Mul and Add")]
    [InlineData("Mul")]
    public void TheFunctionStaysAndTheOutlierShrinks(string form)
    {
        var value = Normalized(form);
        model.Output(model.Node("MatMul", [value, Floats(Channels, 5)]));
        model.Output(model.Node("MatMul", [value, Floats(Channels, 4)]));
        var samples = Samples(6);

        var (graph, done) = Smooth(samples);

        Assert.Equal([2], done.Groups.Select(group => group.Count));
        Assert.Empty(done.Skipped);
        EquivalenceCheck.RequireSame(model.Model, graph.Model, samples, form);
        Assert.InRange(Outliers(model.Model, value, samples) / Outliers(graph.Model, value, samples), 4, 100);
    }

    [Theory]
    [InlineData("residual", "others than products by constants also read its input, for example a residual connection")]
    [InlineData("output", "its input is an output of the model")]
    [InlineData("shared", "its weight is shared")]
    [InlineData("activation", "its input does not come from a normalization with a constant scale")]
    [InlineData("excluded", "it is excluded")]
    public void WhatWouldChangeTheFunctionIsLeft(string fault, string reason)
    {
        var value = fault == "activation" ? model.Node("Relu", [Input()]) : Normalized("Mul and Add");
        var weight = Floats(Channels, Channels);
        var product = model.Node("MatMul", [value, weight]);
        model.Output(fault == "residual" ? model.Node("Add", [product, value]) : fault == "shared" ? model.Node("MatMul", [product, weight]) : product);
        if (fault == "output")
        {
            model.Output(value);
        }

        var before = model.Model.Clone();
        var (graph, done) = Smooth(Samples(2), node => fault == "excluded" ? "it is excluded" : null);

        Assert.Empty(done.Groups);
        Assert.Contains(reason, done.Skipped.Select(layer => layer.Reason));
        Assert.Equal(before.Graph.Initializer, graph.Proto.Initializer);
    }

    [Fact]
    public void AConstantThatOthersReadTooKeepsItsValueForThem()
    {
        var gamma = Gamma();
        var value = model.Node("Mul", [Input(), gamma]);
        model.Output(model.Node("MatMul", [value, Floats(Channels, 5)]));
        model.Output(model.Node("Mul", ["x", gamma]));
        var samples = Samples(3);

        var (graph, done) = Smooth(samples);

        Assert.Single(done.Groups);
        EquivalenceCheck.RequireSame(model.Model, graph.Model, samples, "shared scale");
    }

    [Fact]
    public void QuantizationWithOutliersLosesLessAndSensitivityMeasuresTheSameGraph()
    {
        var hidden = model.Node("MatMul", [Normalized("LayerNormalization"), Floats(Channels, 16)]);
        model.Output(model.Node("MatMul", [model.Node("Relu", [hidden]), Floats(16, 4)]));
        File.WriteAllBytes(folder.File("float.onnx"), model.Model.ToByteArray());
        var samples = Samples(40);
        var results = Array.ConvertAll([false, true], smooths =>
        {
            var options = new OnnxQuantizationOptions { Mode = OnnxMode.Static, TimingLimit = TimeSpan.Zero, SmoothsActivations = smooths };
            return (
                Assert.Single(OnnxQuantizer.Run(folder.File("float.onnx"), folder.File($"{smooths}.onnx"), samples, options).Outputs).Decibels!.Value,
                OnnxQuantizer.Sensitivity(folder.File("float.onnx"), samples, options).Nodes.Max(node => node.Loss));
        });

        Assert.InRange(results[1].Item1 - results[0].Item1, 3, 30);
        Assert.InRange(results[1].Item2 / results[0].Item2, 0, 0.8);
    }

    [Theory]
    [InlineData(-0.1)]
    [InlineData(1.1)]
    [InlineData(double.NaN)]
    public void AStrengthOutsideItsRangeIsRefused(double strength)
    {
        model.Output(model.Node("MatMul", [Normalized("Mul"), Floats(Channels, 4)]));
        File.WriteAllBytes(folder.File("float.onnx"), model.Model.ToByteArray());
        var options = new OnnxQuantizationOptions { Mode = OnnxMode.Static, SmoothsActivations = true, SmoothingStrength = strength };

        var error = Assert.Throws<NibbleException>(() => OnnxQuantizer.Run(folder.File("float.onnx"), folder.File("quantized.onnx"), Samples(5), options));
        Assert.Contains("expected a number from 0 to 1", error.Message, StringComparison.Ordinal);
    }

    private (OnnxGraph Graph, GraphTransformation Done) Smooth(
        IReadOnlyList<IReadOnlyList<NamedOnnxValue>> samples, Func<NodeProto, string?>? objection = null)
    {
        var graph = new OnnxGraph(model.Model.Clone());
        return (graph, ActivationSmoothing.Apply(
            graph, objection ?? (_ => null), samples, new OnnxQuantizationOptions(), Prepared(model.Model), progress: null, CancellationToken.None));
    }

    private PreparedModel Prepared(ModelProto source)
    {
        var place = Directory.CreateDirectory(folder.File(Path.GetRandomFileName())).FullName;
        var path = Path.Combine(place, "watched.onnx");
        File.WriteAllBytes(path, source.ToByteArray());
        return PreparedModel.Open(path, place);
    }

    private string Input() => model.Input("x", OnnxType.Float32, 1, 3, Channels);

    /// <summary>A value with an outlier.</summary>
    private string Normalized(string form)
    {
        var (x, gamma) = (Input(), Gamma());
        return form switch
        {
            "LayerNormalization" => model.Node(form, [x, gamma, Floats(Channels)]),
            "LayerNormalization without bias" => model.Node("LayerNormalization", [x, gamma]),
            "Mul" => model.Node("Mul", [gamma, x]),
            _ => model.Node("Add", [model.Node("Mul", [x, gamma]), Floats(Channels)]),
        };
    }

    private string Gamma() => model.Floats([.. Enumerable.Range(0, Channels).Select(i => i == Outlier ? 80f : 1)], Channels);

    private string Floats(params long[] shape) =>
        model.Floats([.. Enumerable.Range(0, (int)shape.Aggregate(1L, (product, size) => product * size)).Select(_ => RandomGraphs.Normal(random))], shape);

    private IReadOnlyList<IReadOnlyList<NamedOnnxValue>> Samples(int count) =>
        [.. Enumerable.Range(0, count).Select(_ => (NamedOnnxValue[])[EquivalenceCheck.Sample(random, "x", [1, 3, Channels])])];

    /// <summary>The largest magnitude of the channel with the outlier, relative to the median channel.</summary>
    private float Outliers(ModelProto model, string value, IReadOnlyList<IReadOnlyList<NamedOnnxValue>> samples)
    {
        var largest = new float[Channels];
        WatchedGraph.Run(new OnnxGraph(model.Clone()), [value], samples, new OnnxQuantizationOptions(), Prepared(model), (_, numbers) =>
        {
            for (var i = 0; i < numbers.Length; i++)
            {
                largest[i % Channels] = Math.Max(largest[i % Channels], Math.Abs(numbers[i]));
            }
        }, progress: null, CancellationToken.None);
        return largest[Outlier] / largest.Order().ElementAt(Channels / 2);
    }
}
