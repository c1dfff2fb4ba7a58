using System.Text.Json;
using Nibble.Formats.HuggingFace;
using Nibble.Numerics;

namespace Nibble.Formats.Gptq;

/// <summary>How a GPTQ checkpoint stores zero points.</summary>
public enum GptqVersion
{
    /// <summary><c>checkpoint_format: gptq</c>: one less than the zero point, which therefore is at least 1.</summary>
    V1,

    /// <summary><c>checkpoint_format: gptq_v2</c>: the zero point.</summary>
    V2,
}

/// <summary>The <c>quantization_config</c> of a GPTQ checkpoint, or its <c>quantize_config.json</c>.</summary>
/// <remarks>Definition: ModelCloud/GPTQModel, <c>gptqmodel/quantization/config.py</c>.</remarks>
/// <param name="Scheme">How codes are to be read.</param>
/// <param name="Scattered">Whether groups hold scattered columns (<c>desc_act</c>).</param>
/// <param name="Version">How zero points are stored, as the label says.</param>
internal sealed record GptqConfig(QuantizationScheme Scheme, bool Scattered, GptqVersion Version)
{
    /// <summary>What <c>quant_method</c> says.</summary>
    public const string Method = "gptq";

    private const string FileName = "quantize_config.json";
    private const string FormatV2 = "gptq_v2";

    private static readonly int[] Widths = [2, 3, 4, 8];

    /// <summary>Whether GPTQ checkpoints have codes of a width.</summary>
    public static bool Holds(int bits) => Widths.Contains(bits);

    /// <summary>Reads a checkpoint's.</summary>
    /// <exception cref="NibbleException">There is none, or one of its values is missing or not supported.</exception>
    public static GptqConfig Read(Checkpoint checkpoint)
    {
        var path = Path.Combine(checkpoint.Folder, Checkpoint.ConfigName);
        using var model = JsonFile.ReadObject(path);
        if (model.RootElement.TryGetProperty(Checkpoint.QuantizationKey, out var config) && config.ValueKind == JsonValueKind.Object)
        {
            return Read(new QuantizationConfigReader(path, config));
        }

        var own = Path.Combine(checkpoint.Folder, FileName);
        if (!File.Exists(own))
        {
            throw new NibbleException($"{path} has no {Checkpoint.QuantizationKey}, and there is no {FileName} beside it; expected a checkpoint whose weights are quantized.");
        }

        using var document = JsonFile.ReadObject(own);
        return Read(new QuantizationConfigReader(own, document.RootElement));
    }

    /// <summary>Writes the value of <c>quantization_config</c>.</summary>
    public void Write(Utf8JsonWriter writer)
    {
        writer.WriteStartObject();
        writer.WriteString("quant_method", Method);
        writer.WriteString("checkpoint_format", Version == GptqVersion.V1 ? Method : FormatV2);
        writer.WriteNumber("bits", Scheme.Bits);
        writer.WriteNumber("group_size", Scheme.Granularity is PerGroup { Size: var size } ? size : -1);
        writer.WriteBoolean("sym", Scheme.Symmetric);
        writer.WriteBoolean("desc_act", Scattered);
        writer.WriteBoolean("lm_head", false);
        writer.WriteString("pack_dtype", "int32");
        writer.WriteEndObject();
    }

    private static GptqConfig Read(QuantizationConfigReader config)
    {
        var bits = config.WholeNumber("bits", Holds, "2, 3, 4 or 8");
        var group = config.WholeNumber("group_size", size => size is -1 or > 0, "-1 or above 0");
        if (config.Text("quant_method") is not (null or Method))
        {
            throw config.Fault("quant_method", $"is {config.Text("quant_method")}, expected {Method}");
        }

        // Entries that begin with -: leave modules float; others give them another width.
        if (config.Names("dynamic").FirstOrDefault(name => !name.StartsWith("-:", StringComparison.Ordinal)) is { } special)
        {
            throw config.Fault("dynamic", $"treats the modules {special} apart, expected one scheme for all");
        }

        var scheme = new QuantizationScheme(bits, config.Flag("sym"), group < 0 ? Granularity.Channel : Granularity.Group(group)) { ScalePrecision = ScalePrecision.Float16 };
        return new GptqConfig(scheme, config.Flag("desc_act"), config.Text("checkpoint_format") switch
        {
            null or Method => GptqVersion.V1,
            FormatV2 => GptqVersion.V2,
            var other => throw config.Fault("checkpoint_format", $"is {other}, expected {Method} or {FormatV2}"),
        });
    }
}
