using Microsoft.ML.OnnxRuntime;
using Nibble.Onnx.Graphs;

namespace Nibble.Onnx.Tests.Quantization.Simulated;

/// <summary>How far an engine is from the simulation, each step on equal inputs.</summary>
internal sealed class Comparison
{
    private const double SmallestLargest = 0.01;

    /// <summary>The codes that were compared.</summary>
    public long Codes { get; private set; }

    /// <summary>Those that are not the nearest to what the simulation computed.</summary>
    public long OtherCodes { get; private set; }

    /// <summary>The largest distance of a code from what the simulation computed, in steps: 0.5 if all are the nearest.</summary>
    public double LargestStep { get; private set; } = 0.5;

    /// <summary>Where that was: the value and the operator before its QuantizeLinear.</summary>
    public string LargestAt { get; private set; } = "nowhere";

    /// <summary>The largest difference of a float output, relative to the largest magnitude of that output.</summary>
    public double LargestError { get; private set; }

    /// <summary>Compares all codes and outputs.</summary>
    /// <remarks>ONNX Runtime moves a QuantizeLinear and its DequantizeLinear before nodes that only move data, so that an output there can be rounded as well.
    /// Such a difference of up to half a step does not count.</remarks>
    /// <param name="model">The quantized model.</param>
    /// <param name="sample">Its inputs.</param>
    /// <param name="found">What the engine computed.</param>
    public void Add(ModelProto model, IReadOnlyList<NamedOnnxValue> sample, IReadOnlyDictionary<string, SimulatedTensor> found)
    {
        var simulation = QdqSimulation.Run(model, sample.ToDictionary(value => value.Name, EngineSession.Convert, StringComparer.Ordinal), found);
        foreach (var (name, positions) in simulation.Positions)
        {
            var codes = found[name].Values;
            Assert.Equal(positions.Length, codes.Length);
            for (var i = 0; i < codes.Length; i++)
            {
                var distance = Math.Abs(codes[i] - Math.Clamp(positions[i], byte.MinValue, byte.MaxValue));
                if (distance > LargestStep)
                {
                    (LargestStep, LargestAt) = (distance, Describe(model, name));
                }

                OtherCodes += distance > 0.5 ? 1 : 0;
                Codes++;
            }
        }

        foreach (var output in model.Graph.Output)
        {
            var (expected, values) = (simulation.Values[output.Name], found[output.Name]);
            Assert.Equal(expected.Shape, values.Shape);
            Assert.All(values.Values, value => Assert.True(double.IsFinite(value), $"{output.Name} is {value}"));

            // ONNX Runtime's Sigmoid does not go below 1e-8, so that outputs of nothing but such numbers have no exact relation to their largest.
            var largest = expected.Values.Append(SmallestLargest).Max(Math.Abs);
            var error = expected.Values.Zip(values.Values, (a, b) => Math.Abs(a - b)).Append(0).Max();
            if (error > MovedStep(model, output.Name) * (0.5 + 1e-4))
            {
                LargestError = Math.Max(LargestError, error / largest);
            }
        }
    }

    /// <summary>Adds what another comparison found.</summary>
    public void Add(Comparison other)
    {
        (Codes, OtherCodes) = (Codes + other.Codes, OtherCodes + other.OtherCodes);
        (LargestStep, LargestAt) = other.LargestStep > LargestStep ? (other.LargestStep, other.LargestAt) : (LargestStep, LargestAt);
        LargestError = Math.Max(LargestError, other.LargestError);
    }

    /// <summary>The largest scale of the codes that a value becomes after nodes that only move data. 0 if there are none.</summary>
    private static double MovedStep(ModelProto model, string value) => model.Graph.Node.Where(node => node.Input.Contains(value)).Max(node =>
        node.OpType == "QuantizeLinear" ? SimulatedTensor.Of(model.Graph.Initializer.First(tensor => tensor.Name == node.Input[1])).Values[0]
        : QuantizedFile.Moves.Contains(node.OpType) ? node.Output.Max(output => MovedStep(model, output))
        : (double?)0) ?? 0;

    private static string Describe(ModelProto model, string codes)
    {
        var value = model.Graph.Node.First(node => node.Output.Contains(codes)).Input[0];
        return $"'{value}' ({model.Graph.Node.FirstOrDefault(node => node.Output.Contains(value))?.OpType ?? "input"})";
    }
}
