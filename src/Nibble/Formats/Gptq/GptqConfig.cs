using Nibble.Formats.HuggingFace;

namespace Nibble.Formats.Gptq;

/// <summary>How a GPTQ checkpoint stores zero points.</summary>
internal enum GptqVersion
{
    /// <summary><c>checkpoint_format: gptq</c>: one less than the zero point, which therefore is at least 1.</summary>
    V1,

    /// <summary><c>checkpoint_format: gptq_v2</c>: the zero point.</summary>
    V2,
}

/// <summary>What a GPTQ checkpoint says of one layer.</summary>
/// <param name="Bits">Bits of a code.</param>
/// <param name="Group">Columns that share a scale; -1 for all, null where nothing says it.</param>
/// <param name="Symmetric">Whether all zero points are 2^(bits-1); null where nothing says it.</param>
/// <param name="Scattered">Whether groups hold scattered columns (<c>desc_act</c>).</param>
internal readonly record struct GptqScheme(int Bits, int? Group, bool? Symmetric, bool Scattered);

/// <summary>The <c>quantization_config</c> of a GPTQ checkpoint, or its <c>quantize_config.json</c>.</summary>
/// <remarks>
/// Definition: ModelCloud/GPTQModel, <c>gptqmodel/quantization/config.py</c>. What the tools of some year did not write yet is told by the tensors instead:
/// the group size by the number of scales, symmetry by the zero points.
/// </remarks>
internal sealed class GptqConfig
{
    private const string Format = "format";
    private const string FormatV2 = "gptq_v2";
    private const string Dynamic = "dynamic";
    private static readonly int[] Widths = [2, 3, 4, 8];

    private readonly GptqScheme scheme;
    private readonly string path;
    private readonly IReadOnlyList<(string Pattern, QuantizationConfigReader Overrides)> overrides;

    private GptqConfig(QuantizationConfigReader config)
    {
        path = config.Path;
        RequireReadable(config);
        scheme = Override(new GptqScheme(0, null, null, Scattered: false), config, required: true);
        overrides = config.Objects(Dynamic);
        Version = LabelOf(config);
        BorrowsFromNeighbours = config.Object("meta") is { } meta && meta.Found("quantizer").Contains("gptqmodel", StringComparison.OrdinalIgnoreCase);
    }

    /// <summary>How zero points are stored, as the label says.</summary>
    public GptqVersion Version { get; }

    /// <summary>
    /// Whether version 1 took 1 off a whole word of zero points, so that one of 0 takes 1 off the next as well: GPTQModel's way, for 2, 4 and 8 bits. Others
    /// take it off each zero point alone.
    /// </summary>
    public bool BorrowsFromNeighbours { get; }

    /// <summary>Whether GPTQ checkpoints have codes of a width.</summary>
    public static bool Holds(int bits) => Widths.Contains(bits);

    /// <summary>Reads a configuration.</summary>
    /// <exception cref="NibbleException">One of its values is missing or not supported.</exception>
    public static GptqConfig Read(QuantizationConfigReader config) => new(config);

    /// <summary>What is said of a layer.</summary>
    /// <exception cref="NibbleException">A value is not supported.</exception>
    public GptqScheme SchemeOf(string layer)
    {
        foreach (var (pattern, overrides) in this.overrides)
        {
            // Entries that begin with -: leave modules float, so that those that have codes are not theirs.
            if (!pattern.StartsWith("-:", StringComparison.Ordinal)
                && ModulePattern.Matches(pattern.StartsWith("+:", StringComparison.Ordinal) ? pattern[2..] : pattern, layer, $"{path}: {Dynamic}"))
            {
                return Override(scheme, overrides, required: false);
            }
        }

        return scheme;
    }

    private static GptqScheme Override(GptqScheme scheme, QuantizationConfigReader config, bool required)
    {
        var (bits, group) = (config.First("bits", "wbits", "w_bit"), config.First("group_size", "groupsize", "q_group_size"));
        return new GptqScheme(
            required || config.Has(bits) ? config.WholeNumber(bits, Holds, "2, 3, 4 or 8") : scheme.Bits,
            config.Has(group) ? config.WholeNumber(group, size => size is -1 or > 0, "-1 or above 0") : scheme.Group,
            config.Flag("sym") ?? scheme.Symmetric,
            config.Flag("desc_act") ?? scheme.Scattered);
    }

    private static GptqVersion LabelOf(QuantizationConfigReader config)
    {
        var key = config.First("checkpoint_format", Format);
        return config.Text(key)?.ToLowerInvariant() switch
        {
            null or QuantizationConfigReader.Gptq => GptqVersion.V1,
            FormatV2 => GptqVersion.V2,
            var other => throw config.Fault(key, $"is {other}, whose tensors are laid out for one engine's kernels; expected "
                + $"{QuantizationConfigReader.Gptq} or {FormatV2}"),
        };
    }

    private static void RequireReadable(QuantizationConfigReader config)
    {
        if (config.Method() is not QuantizationConfigReader.Gptq)
        {
            throw config.Fault("quant_method", $"is {config.Method()}, expected {QuantizationConfigReader.Gptq}");
        }

        if (config.Flag("is_marlin_format") is true)
        {
            throw config.Fault("is_marlin_format", $"is true: the tensors are laid out for one engine's kernels; expected {QuantizationConfigReader.Gptq} "
                + $"or {FormatV2} as checkpoint_format");
        }

        if (config.Text("pack_dtype") is not (null or "int32"))
        {
            throw config.Fault("pack_dtype", $"is {config.Text("pack_dtype")}, expected int32");
        }

        if (config.Text("rotation") is { } rotation)
        {
            throw config.Fault("rotation", $"is {rotation}: the model turns its activations while it runs, which is not supported here");
        }
    }
}
