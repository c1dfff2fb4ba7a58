using Google.Protobuf;
using Microsoft.ML.OnnxRuntime;
using Nibble.Onnx.Graphs;
using Nibble.Onnx.Quantization;
using Nibble.Recipes;
using Nibble.Torch.Tests.Shared;

namespace Nibble.Onnx.Tests.Quantization.Simulated;

/// <summary>Static quantization of random graphs, proven against a simulation that shares no code with it.</summary>
public sealed class RandomGraphTests
{
    private const int Graphs = 1000;
    private const int Samples = 6;

    [Fact]
    public void FilesHoldWhatTheFloatGraphDemandsAndEnginesComputeWhatTheFilesSay()
    {
        var (weighted, moved, clipped) = (0, 0, 0);
        var (literal, fused) = (new Comparison(), new Comparison());
        for (var seed = 0; seed < Graphs; seed++)
        {
            Check(RandomGraphs.Make(seed), graph =>
            {
                using var folder = new TemporaryFolder();
                var prepared = PreparedModel.Open(Write(graph, folder), folder.Path);
                var options = new OnnxQuantizationOptions { Ranges = graph.Seed % 2 == 0 ? ObserverKind.Mse : ObserverKind.MinMax };
                var model = StaticQuantizer.Calibrate(prepared, graph.Samples(Samples), options, null, CancellationToken.None).Apply(_ => null).Graph;
                var file = new QuantizedFile(prepared.Graph(), model).Check();
                weighted += file.Weighted;
                moved += file.Moved;
                clipped += file.Clipped;
                CompareEngines(model.Model, graph.Samples(2), literal, fused);
            });
        }

        // So many that nothing was left out.
        Assert.InRange(weighted, Graphs, int.MaxValue);
        Assert.InRange(moved, Graphs / 20, int.MaxValue);
        Assert.InRange(literal.Codes, Graphs * 300, long.MaxValue);
        Assert.InRange(clipped, 1, Graphs * 20);

        // Measured on about 300 graphs with 158,000 codes: 1 of the one, 33 of the other, nearly all of them of QLinearSoftmax.
        Assert.InRange(literal.OtherCodes, 0, literal.Codes / 10_000);
        Assert.InRange(fused.OtherCodes, 0, fused.Codes / 1_000);
    }

    [Theory]
    [InlineData(OnnxMode.Static, 2000)]
    [InlineData(OnnxMode.Dynamic, 3000)]
    [InlineData(OnnxMode.Weights, 4000)]
    public void EveryGraphIsQuantizedComparedAndWritten(OnnxMode mode, int first)
    {
        var quantized = 0;
        for (var seed = first; seed < first + 40; seed++)
        {
            Check(RandomGraphs.Make(seed), graph =>
            {
                using var folder = new TemporaryFolder();
                var options = new OnnxQuantizationOptions { Mode = mode, TimingLimit = TimeSpan.Zero };
                var result = OnnxQuantizer.Run(Write(graph, folder), folder.File("quantized.onnx"), graph.Samples(Samples), options);
                Assert.All(result.Outputs, output => Assert.Equal(0, output.NonFinite));
                Assert.Equal(graph.Model.Graph.Output.Select(output => output.Name), result.Outputs.Select(output => output.Name));
                quantized += result.Nodes.Count(node => node.Kept is null);
                using var session = EngineSession.Default(OnnxModelReader.Read(result.Path).Model);
                Assert.Equal(result.Outputs.Count, session.Run(graph.Samples(1)[0]).Count);
            });
        }

        Assert.InRange(quantized, 10, int.MaxValue);
    }

    private static void CompareEngines(ModelProto model, IReadOnlyList<IReadOnlyList<NamedOnnxValue>> samples, Comparison allLiteral, Comparison allFused)
    {
        using var literalSession = EngineSession.Literal(model);
        using var fusedSession = EngineSession.DefaultWithCodes(model);
        using var plainSession = EngineSession.Default(model);
        using var exactSession = EngineSession.Exact(model);
        var (literal, fused) = (new Comparison(), new Comparison());
        foreach (var sample in samples)
        {
            literal.Add(model, sample, literalSession.Run(sample));
            var found = fusedSession.Run(sample);
            fused.Add(model, sample, found);
            var exact = exactSession.Run(sample);
            foreach (var (name, plain) in plainSession.Run(sample))
            {
                // The codes as outputs change nothing, and neither does the arithmetic that never saturates.
                Assert.True(AreClose(plain.Values, found[name].Values), $"'{name}' depends on whether the codes are outputs");
                Assert.True(AreClose(plain.Values, exact[name].Values), $"'{name}' saturates");
            }
        }

        Assert.True(literal.LargestStep <= 0.5 + 1e-4, $"a code of {literal.LargestAt} is {literal.LargestStep} steps from its value");
        Assert.True(literal.LargestError <= 1e-5, $"an output of the file as it stands is off by {literal.LargestError}");

        // Integer kernels round once more; that of Softmax is the least exact, with 0.7 steps.
        Assert.True(fused.LargestStep <= 1, $"with integer kernels, a code of {fused.LargestAt} is {fused.LargestStep} steps from its value");
        Assert.True(fused.LargestError <= 1e-5, $"with integer kernels, an output is off by {fused.LargestError}");
        allLiteral.Add(literal);
        allFused.Add(fused);
    }

    /// <summary>Whether values are the same up to the order of vectorized float sums, which depends on where memory begins.</summary>
    private static bool AreClose(double[] expected, double[] found)
    {
        var largest = expected.Select(Math.Abs).DefaultIfEmpty(0).Max();
        return expected.Length == found.Length && expected.Zip(found).All(pair => Math.Abs(pair.First - pair.Second) <= 1e-5 * Math.Max(largest, 0.01));
    }

    private static string Write(RandomGraph graph, TemporaryFolder folder)
    {
        File.WriteAllBytes(folder.File("float.onnx"), graph.Model.ToByteArray());
        return folder.File("float.onnx");
    }

    /// <summary>Says which graph it was that failed.</summary>
    private static void Check(RandomGraph graph, Action<RandomGraph> check)
    {
        try
        {
            check(graph);
        }
        catch (Exception exception)
        {
            throw new InvalidOperationException($"{graph}: {exception.Message}", exception);
        }
    }
}
