using Nibble.Formats.HuggingFace;

namespace Nibble.Formats.Gptq;

/// <summary>How a GPTQ checkpoint stores zero points.</summary>
internal enum GptqVersion
{
    /// <summary><c>checkpoint_format: gptq</c>: stores the zero point minus 1, so the zero point is at least 1.</summary>
    V1,

    /// <summary><c>checkpoint_format: gptq_v2</c>: stores the zero point.</summary>
    V2,
}

/// <summary>The scheme of one layer of a GPTQ checkpoint.</summary>
/// <param name="Bits">The bit width of codes.</param>
/// <param name="Group">The number of columns that share a scale; -1 for all, null if not specified.</param>
/// <param name="Symmetric">Whether all zero points are 2^(bits-1); null if not specified.</param>
/// <param name="Scattered">Whether groups hold scattered columns (<c>desc_act</c>).</param>
internal readonly record struct GptqScheme(int Bits, int? Group, bool? Symmetric, bool Scattered);

/// <summary>The <c>quantization_config</c> of a GPTQ checkpoint, or its <c>quantize_config.json</c>.</summary>
/// <remarks>
/// Definition: ModelCloud/GPTQModel, <c>gptqmodel/quantization/config.py</c>. Older tools leave out some values, which then follow from the tensors: the
/// group size from the number of scales, and symmetry from the zero points.
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

    /// <summary>How zero points are stored, according to the label.</summary>
    public GptqVersion Version { get; }

    /// <summary>
    /// Whether version 1 subtracted 1 from a whole word of zero points, so that a zero point of 0 also subtracts 1 from the next one. GPTQModel does this
    /// for 2, 4 and 8 bits. Other tools subtract 1 from each zero point separately.
    /// </summary>
    public bool BorrowsFromNeighbours { get; }

    /// <summary>Whether GPTQ checkpoints support a bit width.</summary>
    public static bool Holds(int bits) => Widths.Contains(bits);

    /// <summary>Reads a configuration.</summary>
    /// <exception cref="NibbleException">A value is missing or not supported.</exception>
    public static GptqConfig Read(QuantizationConfigReader config) => new(config);

    /// <summary>The scheme of a layer.</summary>
    /// <exception cref="NibbleException">A value is not supported.</exception>
    public GptqScheme SchemeOf(string layer)
    {
        foreach (var (pattern, overrides) in this.overrides)
        {
            // Entries that start with -: keep modules float, so they do not apply to modules with codes.
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
            var other => throw config.Fault(key, $"is {other}, whose tensor layout is specific to one engine's kernels; expected "
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
            throw config.Fault("is_marlin_format", $"is true: the tensor layout is specific to one engine's kernels; expected {QuantizationConfigReader.Gptq} "
                + $"or {FormatV2} as checkpoint_format");
        }

        if (config.Text("pack_dtype") is not (null or "int32"))
        {
            throw config.Fault("pack_dtype", $"is {config.Text("pack_dtype")}, expected int32");
        }

        if (config.Text("rotation") is { } rotation)
        {
            throw config.Fault("rotation", $"is {rotation}: the model rotates its activations at run time, which is not supported");
        }
    }
}
