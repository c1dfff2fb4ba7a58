using Nibble.Formats.CompressedTensors;
using Microsoft.ML.OnnxRuntime;
using Nibble.Artifacts;
using Nibble.Numerics;
using Nibble.Onnx.Engine;
using Nibble.Onnx.Graphs;
using Nibble.Onnx.Layers;
using Nibble.Recipes;
using Nibble.Torch.Tests.Shared;

namespace Nibble.Onnx.Tests.Layers;

/// <summary>Single layers in ONNX Runtime against products in double of what codes stand for; the input is the same, so every code has to be.</summary>
public sealed class LinearNodesEngineTests
{
    private const int Tokens = 5;

    internal static readonly Gen<QuantizationScheme> WeightSchemes =
        from granularity in Gen.OneOf(
            Gen.OneOf(Granularity.Channel, Granularity.Tensor), Gen.OneOf(8, 16, 20, 32, 48, 64, 100, 128, 256).Select(Granularity.Group))
        from bits in Gen.Int[2, 8]
        from kind in Gen.Int[0, 5]
        select kind switch
        {
            0 => QuantizationScheme.CreateTernary(granularity),
            1 => QuantizationScheme.CreateStretched(Math.Min(bits, 7), granularity),
            _ => new QuantizationScheme(bits, symmetric: kind is 2 or 3, granularity),
        };

    internal static readonly Gen<ActivationQuantization?> Inputs =
        from bits in Gen.OneOf(8, 8, 6, 4)
        from kind in Gen.Int[0, 5]
        from zeroPoint in Gen.Int[-(1 << (bits - 1)), (1 << (bits - 1)) - 1]
        from scale in Gen.Float[0.01f, 0.2f]
        select kind switch
        {
            0 or 1 => null,
            2 => new ActivationQuantization(new QuantizationScheme(bits, symmetric: true, Granularity.Tensor), new QuantizationParameters(scale, 0)),
            3 => new ActivationQuantization(new QuantizationScheme(bits, symmetric: false, Granularity.Tensor), new QuantizationParameters(scale, zeroPoint)),
            4 => new ActivationQuantization(
                new QuantizationScheme(bits, symmetric: true,
                Granularity.Token)
                { ScalePrecision = zeroPoint < 0 ? ScalePrecision.Float16 : ScalePrecision.Float32 }, null),
            _ => new ActivationQuantization(new QuantizationScheme(bits, symmetric: false, Granularity.Token), null),
        };

    [Fact]
    public void EverySchemeComputesWhatTheCodesStandFor() => Gen.Select(WeightSchemes, Inputs, Gen.Int[1, 40], Gen.Int[1, 300], Gen.Bool, Gen.Int).Sample(
        (scheme, input, rows, columns, scattered, seed) =>
        {
            var random = new Random(seed);
            var layer = new QuantizedLayer("layer", Weight(scheme, rows, columns, scattered && scheme.Granularity is PerGroup, random), input);
            var x = Values(random, Tokens * columns);
            RequireEqual(layer, x);
            RequireCodes(layer, x);
        },
        iter: 200,
        threads: 1);

    [Fact]
    public void TokensOfZerosGiveZeros()
    {
        foreach (var symmetric in (bool[])[true, false])
        {
            var input = new ActivationQuantization(new QuantizationScheme(8, symmetric, Granularity.Token), null);
            RequireEqual(new QuantizedLayer("layer", Weight(new QuantizationScheme(8, true, Granularity.Channel), 4, 32, false, new Random(1)), input),
                new float[Tokens * 32]);
        }
    }

    [Fact]
    public void LargestCodesDoNotSaturate()
    {
        // Pairs of products of 255 and 127 exceed 16 bits, where processors with AVX2 alone add unsigned by signed bytes up.
        var weight = new QuantizedTensor(
            2, 64, new QuantizationScheme(8, true, Granularity.Channel), [.. Enumerable.Repeat((sbyte)127, 64), .. Enumerable.Repeat((sbyte)-128, 64)], [1, 1],
            []);
        float[] x = [.. Enumerable.Repeat(1f, Tokens * 64)];
        RequireEqual(new QuantizedLayer("layer", weight, new ActivationQuantization(new QuantizationScheme(8, true, Granularity.Token), null)), x);
        RequireEqual(new QuantizedLayer(
            "layer", weight, new ActivationQuantization(new QuantizationScheme(8, false, Granularity.Tensor), new QuantizationParameters(1f / 255, -128))), x);
    }

    [Fact]
    public void WhatNoGraphExpressesIsRefusedByName()
    {
        var plain = new QuantizedLayer("layer", Weight(new QuantizationScheme(8, true, Granularity.Channel), 4, 32, false, new Random(1)), null);
        Assert.Contains("layer 'layer' rotates its input by a Hadamard matrix", Refusal(plain with { InputTransform = InputTransform.Hadamard }),
            StringComparison.Ordinal);
        Assert.Contains("codes of 9 bits",
            Refusal(plain with { Weight = Weight(QuantizationScheme.CreateStretched(8, Granularity.Channel), 4, 32, false, new Random(1)) }),
            StringComparison.Ordinal);
        var powers = new ActivationQuantization(new QuantizationScheme(8, true, Granularity.Token) { ScalePrecision = ScalePrecision.PowerOfTwo }, null);
        Assert.Contains("power of two", Refusal(plain with { Input = powers }), StringComparison.Ordinal);
    }

    private static string Refusal(QuantizedLayer layer) => Assert.Throws<NibbleException>(() => Run(layer, new float[Tokens * layer.Weight.Columns])).Message;

    private static void RequireEqual(QuantizedLayer layer, float[] x)
    {
        var (rows, columns) = (layer.Weight.Rows, layer.Weight.Columns);
        var found = Run(layer, x);
        var inputs = x.ToArray();
        if (layer.Input is { Static: { } parameters } input)
        {
            Quantizer.FakeQuantize(x, parameters, input.Scheme.Codes, inputs);
        }
        else if (layer.Input is { } dynamic)
        {
            FakeQuantizer.MinMax(x, columns, dynamic.Scheme, inputs, threads: 1);
        }

        var weights = layer.Weight.Dequantize();
        for (var i = 0; i < found.Length; i++)
        {
            double sum = 0, size = 0;
            for (var column = 0; column < columns; column++)
            {
                var product = (double)inputs[(i / rows * columns) + column] * weights[(i % rows * columns) + column];
                sum += product;
                size += Math.Abs(product);
            }

            Assert.True(Math.Abs(found[i] - sum) <= 3e-6 * size,
                $"{layer.Weight.Scheme}, {rows} x {columns}, input {layer.Input}: output {i} is {found[i]}, expected {sum}");
        }
    }

    /// <summary>A probe finds the codes of the specification, in the order of the input, and changes nothing.</summary>
    private static void RequireCodes(QuantizedLayer layer, float[] x)
    {
        using var folder = new TemporaryFolder();
        var path = Write(layer, folder);
        using var plain = OnnxRuntimeSession.Open(path, threads: 1);
        var (probed, probe) = OnnxRuntimeSession.OpenProbed(path, threads: 1);
        using (probed)
        {
            var expected = Run(plain, x, ["y"], results => results[0].GetTensorDataAsSpan<float>().ToArray());
            var (found, inputs) = Run(
                probed, x, ["y", .. probe.Outputs], results => (results[0].GetTensorDataAsSpan<float>().ToArray(), probe.Read(results.Skip(1))));
            Assert.Equal(expected, found);
            Assert.Equal(layer.Input is null ? [] : [layer.Name], inputs.Keys);
            if (layer.Input is { } input)
            {
                var codes = inputs[layer.Name];
                for (var i = 0; i < x.Length; i++)
                {
                    var token = i / layer.Weight.Columns;
                    var row = x.AsSpan(token * layer.Weight.Columns, layer.Weight.Columns).ToArray();
                    var parameters = input.Static ?? QuantizationParameters.FromRange(new ValueRange(row.Min(), row.Max()), input.Scheme);
                    Assert.Equal(parameters.Scale, codes.Scales[codes.Scales.Length == 1 ? 0 : token]);
                    Assert.Equal(parameters.ZeroPoint, codes.ZeroPoints[codes.ZeroPoints.Length == 1 ? 0 : token]);
                    Assert.Equal(ScalarQuantizer.Quantize(x[i], parameters, input.Scheme.Codes), codes.Codes[i]);
                }
            }
        }
    }

    private static float[] Run(QuantizedLayer layer, float[] x)
    {
        using var folder = new TemporaryFolder();

        // Default options: a file has to be right without settings of ours.
        using var options = new SessionOptions { IntraOpNumThreads = 1 };
        using var session = new InferenceSession(Write(layer, folder), options);
        return Run(session, x, ["y"], results => results[0].GetTensorDataAsSpan<float>().ToArray());
    }

    private static T Run<T>(InferenceSession session, float[] x, string[] outputs, Func<IReadOnlyList<OrtValue>, T> read)
    {
        using var value = OrtValue.CreateTensorValueFromMemory(x, [Tokens, x.Length / Tokens]);
        using var run = new RunOptions();
        using var results = session.Run(run, new Dictionary<string, OrtValue> { ["x"] = value }, outputs);
        return read([.. results]);
    }

    /// <summary>Writes a graph of one layer.</summary>
    private static string Write(QuantizedLayer layer, TemporaryFolder folder)
    {
        QuantizedModelFile.Save(
            new QuantizedModel("{}", [layer], [], new Recipe("test", []),
                new Provenance("0", "ptq", 0, new Dictionary<string, string>(), new Dictionary<string, double>()), string.Empty),
            folder.File("artifact"));
        using var tensors = ModelTensors.Open(folder.File("artifact"));
        var graph = new GraphBuilder();
        var input = graph.Input("x", OnnxType.Float32, Tokens, layer.Weight.Columns);
        graph.Output(new LinearNodes(graph, tensors).Apply(input, layer.Name, layer.Weight.Rows, layer.Weight.Columns, bias: false), "y", OnnxType.Float32,
            Tokens, layer.Weight.Rows);
        OnnxWriter.Write(folder.File("layer.onnx"), graph.Build("layer", []), graph.Initializers);
        return folder.File("layer.onnx");
    }

    internal static QuantizedTensor Weight(QuantizationScheme scheme, int rows, int columns, bool scattered, Random random)
    {
        var groups = QuantizedTensor.GroupCount(rows, columns, scheme.Granularity);
        sbyte Code() => (sbyte)random.Next(scheme.Codes.Min, scheme.Codes.Max + 1);
        int[]? index = null;
        if (scattered)
        {
            var size = ((PerGroup)scheme.Granularity).Size;
            index = [.. Enumerable.Range(0, columns).Select(column => column / size)];
            random.Shuffle(index);
        }

        return new QuantizedTensor(
            rows,
            columns,
            scheme,
            [.. Enumerable.Range(0, rows * columns).Select(_ => Code())],
            [.. Enumerable.Range(0, groups).Select(_ => 0.01f + (0.1f * random.NextSingle()))],
            scheme.Symmetric ? [] : [.. Enumerable.Range(0, groups).Select(_ => Code())],
            index);
    }

    private static float[] Values(Random random, int count) =>
        [.. Enumerable.Range(0, count).Select(_ => (random.NextSingle() - 0.4f) * (random.Next(20) == 0 ? 30 : 2))];
}
