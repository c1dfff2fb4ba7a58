using Nibble.Onnx.Graphs;

namespace Nibble.Onnx.Quantization.Equivalence;

/// <summary>A value whose channels are scaled by constants, and the products that read it.</summary>
/// <param name="Value">The value, [..., channels].</param>
/// <param name="Layers">All that read it.</param>
/// <param name="Constants">The nodes that multiply its channels by a vector or add one, and the place of the vector among their inputs.</param>
internal sealed record SmoothedGroup(string Value, IReadOnlyList<ScaledLayer> Layers, IReadOnlyList<(NodeProto Node, int Input)> Constants)
{
    /// <summary>The number of channels.</summary>
    public int Channels => Layers[0].Inputs;

    /// <summary>The names of the products.</summary>
    public IReadOnlyList<string> Nodes => [.. Layers.Select(layer => layer.Node.Name)];

    /// <summary>The largest magnitude of the weights of each channel, over all products.</summary>
    public double[] WeightRanges() =>
        Layers.Select(layer => layer.InputRanges()).Aggregate((all, one) => [.. all.Zip(one, Math.Max)]);

    /// <summary>Divides the value's channels by factors, and multiplies the weights by them.</summary>
    public void Apply(OnnxGraph graph, double[] factors)
    {
        ArgumentNullException.ThrowIfNull(graph);
        ArgumentNullException.ThrowIfNull(factors);
        foreach (var (node, input) in Constants)
        {
            ScaledLayer.Divide(graph, node, input, factors);
        }

        foreach (var layer in Layers)
        {
            for (var channel = 0; channel < factors.Length; channel++)
            {
                layer.MultiplyInput(channel, factors[channel]);
            }

            layer.Apply(graph);
        }
    }
}
