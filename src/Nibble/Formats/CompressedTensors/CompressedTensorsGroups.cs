using Nibble.Formats.HuggingFace;
using Nibble.Numerics;

namespace Nibble.Formats.CompressedTensors;

/// <summary>How the layers of one configuration group are quantized.</summary>
/// <param name="Bits">The bit width of weight codes.</param>
/// <param name="Symmetric">Whether weights have no zero points.</param>
/// <param name="Granularity">Which weights share a scale.</param>
/// <param name="Input">The scheme of the inputs; null if they stay float.</param>
internal sealed record CompressedTensorsGroup(int Bits, bool Symmetric, Granularity Granularity, QuantizationScheme? Input);

/// <summary>The <c>quantization_config</c> of a checkpoint written by another tool: which layer is in which group.</summary>
/// <remarks>Definition: vllm-project/compressed-tensors, <c>quantization/quant_config.py</c>, <c>quant_args.py</c> and <c>utils/match.py</c>.</remarks>
internal sealed class CompressedTensorsGroups
{
    private const string Expression = "re:";
    private const string Strategy = "strategy";

    // What the formats without integer codes hold.
    private static readonly Dictionary<string, string> Foreign = new(StringComparer.Ordinal)
    {
        ["float-quantized"] = "FP8 weights",
        ["nvfp4-pack-quantized"] = "NVFP4 weights",
        ["mxfp4-pack-quantized"] = "MXFP4 weights",
        ["mxfp8-quantized"] = "MXFP8 weights",
        ["marlin-24"] = "sparse weights",
        ["sparse-24-bitmask"] = "sparse weights",
        ["sparse-bitmask"] = "sparse weights",
        ["dense"] = "float weights that are quantized at run time",
        ["fakequant"] = "float weights that are quantized at run time",
    };

    private readonly string path;
    private readonly List<(string Target, CompressedTensorsGroup Group)> targets = [];

    private CompressedTensorsGroups(QuantizationConfigReader config)
    {
        path = config.Path;
        RequireReadable(config);
        foreach (var (_, group) in config.Objects("config_groups"))
        {
            RequireFormat(group);
            var read = ReadGroup(group);
            targets.AddRange(group.Texts("targets").Select(target => (target, read)));
        }

        if (targets.Count == 0)
        {
            throw config.Fault("config_groups", $"is {config.Found("config_groups")}, expected groups with targets");
        }

        // Names, then regular expressions, then class names, each in order. The library sorts them the same way.
        targets = [.. targets.OrderBy(target => target.Target.Contains(Expression, StringComparison.Ordinal))
            .ThenBy(target => target.Target, StringComparer.Ordinal)];
    }

    /// <summary>Reads a configuration.</summary>
    /// <exception cref="NibbleException">A value is missing or not supported.</exception>
    public static CompressedTensorsGroups Read(QuantizationConfigReader config) => new(config);

    /// <summary>The group of a quantized layer.</summary>
    /// <exception cref="NibbleException">No group contains the layer.</exception>
    public CompressedTensorsGroup Find(string layer)
    {
        foreach (var (target, group) in targets)
        {
            var isExpression = target.StartsWith(Expression, StringComparison.Ordinal);
            if (isExpression ? ModulePattern.Matches(target[Expression.Length..], layer, $"{path}: targets") : target == layer)
            {
                return group;
            }
        }

        // Any other target is a class name. All layers with codes are linear layers or embeddings.
        var kind = layer.Contains("embed", StringComparison.Ordinal) ? "Embedding" : "Linear";
        return targets.Where(target => target.Target == kind).Select(target => target.Group).FirstOrDefault()
            ?? throw new NibbleException($"{path}: no target of config_groups matches layer {layer}, which has codes; found "
                + $"{string.Join(", ", targets.Select(target => target.Target).Distinct().Take(5))}.");
    }

    private static void RequireReadable(QuantizationConfigReader config)
    {
        if (config.Method() is not QuantizationConfigReader.CompressedTensors)
        {
            throw config.Fault("quant_method", $"is {config.Method()}, expected {QuantizationConfigReader.CompressedTensors}");
        }

        RequireFormat(config);
        if (config.Has("kv_cache_scheme"))
        {
            throw config.Fault("kv_cache_scheme", "quantizes the key-value cache in a way that Nibble does not simulate, so its scores would describe "
                + "a different model; expected none");
        }

        if (config.Object("sparsity_config") is { } sparsity && sparsity.Text("format") is not (null or "dense"))
        {
            throw config.Fault("sparsity_config", $"has the format {sparsity.Text("format")}; sparse weights are not supported");
        }

        if (config.Object("transform_config") is { } transform && (transform.Object("config_groups") is not null || !transform.Has("config_groups")))
        {
            throw config.Fault("transform_config", "rotates activations at run time, which is not supported");
        }
    }

    private static void RequireFormat(QuantizationConfigReader config)
    {
        if (config.Text("format") is { } format && format is not ("pack-quantized" or "int-quantized" or "naive-quantized" or "mixed-precision"))
        {
            throw config.Fault("format", $"is {format}{(Foreign.TryGetValue(format, out var what) ? $", which holds {what}" : string.Empty)}; expected "
                + "integer weights in pack-quantized, int-quantized and naive-quantized");
        }
    }

    private static CompressedTensorsGroup ReadGroup(QuantizationConfigReader group)
    {
        var weights = group.Object("weights") ?? throw group.Fault("weights", "is missing; layers with only quantized inputs are not supported");
        if (group.Has("output_activations"))
        {
            throw group.Fault("output_activations", "quantizes the outputs of layers, which is not supported");
        }

        var bits = Bits(weights);
        var size = weights.Has("group_size") ? weights.WholeNumber("group_size", number => number is -1 or > 0, "-1 or above 0") : (int?)null;
        var granularity = (weights.Text(Strategy)?.ToLowerInvariant() ?? (size is null ? "tensor" : size > 0 ? "group" : "channel")) switch
        {
            "tensor" => Granularity.Tensor,
            "channel" => Granularity.Channel,
            "group" when size > 0 => Granularity.Group(size.Value),
            var other => throw weights.Fault(Strategy, $"is {other}{(size is null ? string.Empty : $" with a group_size of {size}")}, expected tensor, "
                + "channel, or group with a group_size"),
        };
        var input = group.Object("input_activations");
        return new CompressedTensorsGroup(bits, weights.Flag("symmetric") ?? true, granularity, input is null ? null : ReadInput(input));
    }

    private static QuantizationScheme ReadInput(QuantizationConfigReader input)
    {
        var bits = Bits(input);
        var granularity = (input.Text(Strategy)?.ToLowerInvariant() ?? "tensor", input.Flag("dynamic") ?? false) switch
        {
            ("token", true) => Granularity.Token,
            ("tensor", false) => Granularity.Tensor,
            var (strategy, dynamic) => throw input.Fault(Strategy, $"is {strategy} and {(dynamic ? "dynamic" : "static")}, expected inputs per token and "
                + "dynamic, or per tensor and static"),
        };
        return new QuantizationScheme(bits, input.Flag("symmetric") ?? true, granularity);
    }

    private static int Bits(QuantizationConfigReader arguments)
    {
        var type = arguments.Text("type")?.ToLowerInvariant() ?? "int";
        return type == "int"
            ? arguments.WholeNumber("num_bits", bits => bits is >= QuantizationScheme.MinBits and <= QuantizationScheme.MaxBits,
                $"{QuantizationScheme.MinBits} to {QuantizationScheme.MaxBits}")
            : throw arguments.Fault("type", $"is {type} of {arguments.Found("num_bits")} bits{(arguments.Found("num_bits") is "8" ? " (FP8)" : " (FP4)")}, "
                + "expected int");
    }
}
