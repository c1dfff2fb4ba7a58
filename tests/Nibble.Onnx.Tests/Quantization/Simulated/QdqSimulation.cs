using Nibble.Onnx.Graphs;

namespace Nibble.Onnx.Tests.Quantization.Simulated;

/// <summary>Computes a model node by node as the text of ONNX says: codes with integers, everything else in double precision.</summary>
/// <remarks>It shares no code with the quantizers. Codes that an engine found can take the place of its own, so that each step is compared on equal inputs,
/// and a difference does not spread.</remarks>
internal sealed class QdqSimulation
{
    private readonly Dictionary<string, SimulatedTensor> values = new(StringComparer.Ordinal);
    private readonly Dictionary<string, double[]> positions = new(StringComparer.Ordinal);

    private QdqSimulation()
    {
    }

    /// <summary>All values of the graph by name. Codes are those of the engine.</summary>
    public IReadOnlyDictionary<string, SimulatedTensor> Values => values;

    /// <summary>For each QuantizeLinear, by its output: its codes before they are rounded and saturated.</summary>
    public IReadOnlyDictionary<string, double[]> Positions => positions;

    /// <summary>Computes a model.</summary>
    /// <param name="model">The model.</param>
    /// <param name="inputs">Its inputs.</param>
    /// <param name="engine">The codes that an engine found for the outputs of QuantizeLinear.</param>
    public static QdqSimulation Run(ModelProto model, IReadOnlyDictionary<string, SimulatedTensor> inputs, IReadOnlyDictionary<string, SimulatedTensor> engine)
    {
        var simulation = new QdqSimulation();
        foreach (var (name, value) in inputs)
        {
            simulation.values.Add(name, value);
        }

        foreach (var tensor in model.Graph.Initializer)
        {
            simulation.values.Add(tensor.Name, SimulatedTensor.Of(tensor));
        }

        foreach (var node in model.Graph.Node)
        {
            simulation.Compute(node, engine);
        }

        return simulation;
    }

    private void Compute(NodeProto node, IReadOnlyDictionary<string, SimulatedTensor> engine)
    {
        SimulatedTensor?[] read = [.. node.Input.Select(name => name.Length == 0 ? null : values[name])];
        switch (node.OpType)
        {
            case "QuantizeLinear":
                var scaled = SimulatedTensor.Combine(read[0]!, read[1]!, (x, scale) => x / scale);
                positions.Add(node.Output[0], SimulatedTensor.Combine(scaled, read[2]!, (code, zero) => code + zero).Values);
                values.Add(node.Output[0], engine.GetValueOrDefault(node.Output[0]) ?? SimulatedTensor.Combine(
                    scaled, read[2]!, (code, zero) => Math.Clamp(Math.Round(code, MidpointRounding.ToEven) + zero, byte.MinValue, byte.MaxValue)));
                break;
            case "DequantizeLinear":
                values.Add(node.Output[0], Dequantize(node, read[0]!, read[1]!, read[2]!));
                break;
            default:
                foreach (var (name, value) in node.Output.Zip(SimulatedOperators.Compute(node, read)))
                {
                    values.Add(name, value);
                }

                break;
        }
    }

    // x = (code - zero) * scale in float32, which is how the definition rounds.
    private static SimulatedTensor Dequantize(NodeProto node, SimulatedTensor codes, SimulatedTensor scales, SimulatedTensor zeros)
    {
        var axis = codes.Axis(node.Integer("axis", 1));
        var values = new double[codes.Values.Length];
        for (var i = 0; i < values.Length; i++)
        {
            var channel = scales.Rank == 0 ? 0 : SimulatedTensor.Place(i, codes.Shape)[axis];
            values[i] = (float)((float)(codes.Values[i] - zeros.Values[channel]) * (float)scales.Values[channel]);
        }

        return new SimulatedTensor(codes.Shape, values);
    }
}
