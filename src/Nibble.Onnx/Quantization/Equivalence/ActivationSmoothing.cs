using Microsoft.ML.OnnxRuntime;
using Nibble.Onnx.Graphs;

namespace Nibble.Onnx.Quantization.Equivalence;

/// <summary>Moves outliers of the channels behind a normalization into the weights of the products that read them.</summary>
/// <remarks>
/// Xiao et al. 2022, "SmoothQuant", eq. 4: <c>s[j] = max|X[j]|^a / max|W[j]|^(1 - a)</c> divides the scale and the bias of the normalization, and multiplies
/// the weights of input channel j in all products that read it.
/// </remarks>
internal static class ActivationSmoothing
{
    private static readonly string[] Normalizations = ["LayerNormalization", "RMSNormalization", "SimplifiedLayerNormalization"];

    /// <summary>Smooths the inputs of products in place.</summary>
    /// <param name="graph">The float graph.</param>
    /// <param name="objection">Why a node must stay as it is by the user's wish; null if it need not.</param>
    /// <param name="samples">The samples of the calibration.</param>
    /// <param name="options">The strength, the states, and the sizes of inputs.</param>
    /// <param name="model">The model of the graph.</param>
    /// <param name="progress">Takes the number of samples so far.</param>
    /// <param name="cancellation">Stops the run.</param>
    /// <exception cref="NibbleException">There are no samples, or one does not fit the model.</exception>
    public static GraphTransformation Apply(
        OnnxGraph graph,
        Func<NodeProto, string?> objection,
        IEnumerable<IReadOnlyCollection<NamedOnnxValue>> samples,
        OnnxQuantizationOptions options,
        PreparedModel model,
        IProgress<int>? progress,
        CancellationToken cancellation)
    {
        ArgumentNullException.ThrowIfNull(graph);
        ArgumentNullException.ThrowIfNull(options);
        var groups = new List<SmoothedGroup>();
        var skipped = new List<SkippedLayer>();
        foreach (var readers in graph.Nodes.Where(node => node.OpType is "MatMul" or "Gemm" && ScaledLayer.Is(graph, node)).GroupBy(node => node.Input[0]))
        {
            if (Find(graph, readers.Key, [.. readers], objection, out var reason) is { } group)
            {
                groups.Add(group);
            }
            else
            {
                skipped.AddRange(readers.Select(node => new SkippedLayer(node.Name, node.OpType, reason!)));
            }
        }

        if (groups.Count > 0)
        {
            var magnitudes = groups.ToDictionary(group => group.Value, group => new float[group.Channels], StringComparer.Ordinal);
            WatchedGraph.Run(
                graph, magnitudes.Keys, samples, options, model, (value, numbers) => Watch(numbers, magnitudes[value]), progress, cancellation);
            foreach (var group in groups)
            {
                group.Apply(graph, Factors(magnitudes[group.Value], group.WeightRanges(), options.SmoothingStrength));
            }

            graph.RemoveUnusedConstants();
        }

        return new GraphTransformation(GraphTransformation.Smoothing, [.. groups.Select(group => group.Nodes)], skipped);
    }

    private static void Watch(ReadOnlySpan<float> numbers, float[] magnitudes)
    {
        for (var i = 0; i < numbers.Length; i++)
        {
            ref var largest = ref magnitudes[i % magnitudes.Length];
            largest = Math.Abs(numbers[i]) > largest ? Math.Abs(numbers[i]) : largest;
        }
    }

    private static double[] Factors(float[] inputs, double[] weights, double strength) => [.. inputs.Zip(weights, (input, weight) =>
        input > 0 && weight > 0 && float.IsFinite(input)
            ? ScaledLayer.Limit(Math.Pow(input, strength) / Math.Pow(weight, 1 - strength)) : 1)];

    private static SmoothedGroup? Find(
        OnnxGraph graph, string value, IReadOnlyList<NodeProto> readers, Func<NodeProto, string?> objection, out string? reason)
    {
        var layers = new List<ScaledLayer>();
        foreach (var node in readers)
        {
            reason = objection(node);
            if (reason is not null || ScaledLayer.Find(graph, node, out reason) is not { } layer)
            {
                return null;
            }

            layers.Add(layer);
        }

        var channels = layers[0].Inputs;
        var constants = new List<(NodeProto Node, int Input)>();
        reason = layers.Exists(layer => layer.Inputs != channels) || !AddConstants(graph, value, channels, constants)
                ? "its input does not come from a normalization with a constant scale"
            : graph.IsOutput(value) ? "its input is an output of the model"
            : graph.Consumers(value).Count != readers.Count || readers.Any(node => node.Input.Count(input => input == value) != 1)
                ? "others than products by constants also read its input, for example a residual connection"
            : null;
        return reason is null ? new SmoothedGroup(value, layers, constants) : null;
    }

    /// <summary>Finds the constants by which the channels of a value can be scaled: of a normalization node, or of a multiplication and an addition.</summary>
    private static bool AddConstants(OnnxGraph graph, string value, int channels, List<(NodeProto Node, int Input)> constants)
    {
        if (graph.Producer(value) is not { } node || !node.IsStandard())
        {
            return false;
        }

        if (Normalizations.Contains(node.OpType))
        {
            var inputs = Enumerable.Range(1, node.Input.Count - 1).Where(input => node.Input[input].Length > 0).ToList();
            constants.AddRange(inputs.Select(input => (node, input)));
            return node.Output[0] == value && inputs.Count > 0 && inputs.TrueForAll(input => IsVector(node.Input[input]));
        }

        var place = node.OpType is not ("Mul" or "Add") ? -1 : IsVector(node.Input[0]) ? 0 : IsVector(node.Input[1]) ? 1 : -1;
        if (place < 0)
        {
            return false;
        }

        constants.Add((node, place));
        var other = node.Input[1 - place];
        return node.OpType == "Mul" ? graph.Constant(other) is null
            : graph.Consumers(other).Count == 1 && !graph.IsOutput(other) && AddConstants(graph, other, channels, constants);

        bool IsVector(string name) => graph.Constant(name) is { Dims.Count: > 0 } constant && constant.Element() == OnnxType.Float32
            && constant.Dims[^1] == channels && constant.Count() == channels;
    }
}
