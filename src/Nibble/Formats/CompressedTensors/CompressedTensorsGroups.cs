using Nibble.Formats.HuggingFace;
using Nibble.Numerics;

namespace Nibble.Formats.CompressedTensors;

/// <summary>How the layers of a group of a configuration are quantized.</summary>
/// <param name="Bits">Bits of a weight's code.</param>
/// <param name="Symmetric">Whether weights have no zero points.</param>
/// <param name="Granularity">Which weights share a scale.</param>
/// <param name="Input">The scheme of the inputs; null where they stay float.</param>
internal sealed record CompressedTensorsGroup(int Bits, bool Symmetric, Granularity Granularity, QuantizationScheme? Input);

/// <summary>The <c>quantization_config</c> of a checkpoint that another tool wrote: which layer is in which group.</summary>
/// <remarks>Definition: vllm-project/compressed-tensors, <c>quantization/quant_config.py</c>, <c>quant_args.py</c> and <c>utils/match.py</c>.</remarks>
internal sealed class CompressedTensorsGroups
{
    private const string Expression = "re:";
    private const string Strategy = "strategy";

    // What formats hold that no integers do.
    private static readonly Dictionary<string, string> Foreign = new(StringComparer.Ordinal)
    {
        ["float-quantized"] = "FP8 weights",
        ["nvfp4-pack-quantized"] = "NVFP4 weights",
        ["mxfp4-pack-quantized"] = "MXFP4 weights",
        ["mxfp8-quantized"] = "MXFP8 weights",
        ["marlin-24"] = "sparse weights",
        ["sparse-24-bitmask"] = "sparse weights",
        ["sparse-bitmask"] = "sparse weights",
        ["dense"] = "float weights that are quantized while the model runs",
        ["fakequant"] = "float weights that are quantized while the model runs",
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

        // Names, expressions, and then the names of classes, each in their order: as the library sorts them.
        targets = [.. targets.OrderBy(target => target.Target.Contains(Expression, StringComparison.Ordinal))
            .ThenBy(target => target.Target, StringComparer.Ordinal)];
    }

    /// <summary>Reads a configuration.</summary>
    /// <exception cref="NibbleException">One of its values is missing or not supported.</exception>
    public static CompressedTensorsGroups Read(QuantizationConfigReader config) => new(config);

    /// <summary>The group of a layer that has codes.</summary>
    /// <exception cref="NibbleException">It is in none.</exception>
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

        // What is neither is the name of a class; all layers that hold codes are linear ones or embeddings.
        var kind = layer.Contains("embed", StringComparison.Ordinal) ? "Embedding" : "Linear";
        return targets.Where(target => target.Target == kind).Select(target => target.Group).FirstOrDefault()
            ?? throw new NibbleException($"{path}: no target of config_groups is layer {layer}, which has codes; found "
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
            throw config.Fault("kv_cache_scheme", "quantizes the key-value cache in a way that is not simulated here, so that scores would be those of "
                + "another model; expected none");
        }

        if (config.Object("sparsity_config") is { } sparsity && sparsity.Text("format") is not (null or "dense"))
        {
            throw config.Fault("sparsity_config", $"has the format {sparsity.Text("format")}: sparse weights are not supported");
        }

        if (config.Object("transform_config") is { } transform && (transform.Object("config_groups") is not null || !transform.Has("config_groups")))
        {
            throw config.Fault("transform_config", "turns activations while the model runs, which is not supported here");
        }
    }

    private static void RequireFormat(QuantizationConfigReader config)
    {
        if (config.Text("format") is { } format && format is not ("pack-quantized" or "int-quantized" or "naive-quantized" or "mixed-precision"))
        {
            throw config.Fault("format", $"is {format}{(Foreign.TryGetValue(format, out var what) ? $", which holds {what}" : string.Empty)}; supported "
                + "are integer weights in pack-quantized, int-quantized and naive-quantized");
        }
    }

    private static CompressedTensorsGroup ReadGroup(QuantizationConfigReader group)
    {
        var weights = group.Object("weights") ?? throw group.Fault("weights", "is missing: layers whose inputs alone are quantized are not supported");
        if (group.Has("output_activations"))
        {
            throw group.Fault("output_activations", "quantizes what layers put out, which is not supported");
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
