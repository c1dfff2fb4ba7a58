using Nibble.Onnx.Graphs;

namespace Nibble.Onnx.Quantization.Equivalence;

/// <summary>Moves scales between layers until each channel has the same range in the layer that computes it and in the one that reads it.</summary>
/// <remarks>
/// Nagel et al. 2019, "Data-Free Quantization Through Weight Equalization and Bias Correction", section 4.1. Pairs are equalized in turn until nothing moves,
/// so that in a chain with a depthwise convolution in the middle all three layers get the cube root of the product of their ranges.
/// </remarks>
internal static class CrossLayerEqualization
{
    /// <summary>A step below this is too small to matter for a grid of 8 bits: 0.1 %.</summary>
    private const double Tolerance = 1e-3;

    private const int MostRounds = 100;

    /// <summary>Equalizes the layers of a graph in place.</summary>
    /// <param name="graph">The float graph.</param>
    /// <param name="objection">Why a node must stay as it is by the user's wish; null if it need not.</param>
    /// <param name="cancellation">Stops between pairs.</param>
    public static GraphTransformation Apply(OnnxGraph graph, Func<NodeProto, string?> objection, CancellationToken cancellation)
    {
        ArgumentNullException.ThrowIfNull(graph);
        var (pairs, skipped) = LayerPairs.Find(graph, objection);
        Equalize(pairs, cancellation);
        foreach (var pair in pairs)
        {
            pair.ApplyBetween(graph);
        }

        foreach (var layer in pairs.SelectMany(pair => (ScaledLayer[])[pair.First, pair.Second]).Distinct())
        {
            layer.Apply(graph);
        }

        graph.RemoveUnusedConstants();
        return new GraphTransformation(
            GraphTransformation.Equalization, [.. pairs.Select(pair => (string[])[pair.First.Node.Name, pair.Second.Node.Name])], skipped);
    }

    private static void Equalize(IReadOnlyList<LayerPair> pairs, CancellationToken cancellation)
    {
        var byFirst = pairs.ToDictionary(pair => pair.First);
        var bySecond = pairs.ToDictionary(pair => pair.Second);
        var waiting = new Queue<LayerPair>(pairs);
        var queued = new HashSet<LayerPair>(pairs);
        for (var steps = 0L; steps < (long)MostRounds * pairs.Count && waiting.TryDequeue(out var pair); steps++)
        {
            cancellation.ThrowIfCancellationRequested();
            queued.Remove(pair);
            if (pair.Equalize() < Tolerance)
            {
                continue;
            }

            // The pair itself is equal now; its neighbours share a layer with it.
            foreach (var neighbour in (LayerPair?[])[bySecond.GetValueOrDefault(pair.First), byFirst.GetValueOrDefault(pair.Second)])
            {
                if (neighbour is not null && queued.Add(neighbour))
                {
                    waiting.Enqueue(neighbour);
                }
            }
        }
    }
}
