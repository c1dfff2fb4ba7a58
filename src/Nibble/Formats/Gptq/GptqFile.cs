using System.Globalization;
using System.Text.Json;
using System.Text.RegularExpressions;
using Nibble.Artifacts;
using Nibble.Formats.HuggingFace;
using Nibble.Formats.Safetensors;
using Nibble.Numerics;

namespace Nibble.Formats.Gptq;

/// <summary>Quantized models as GPTQ checkpoints, which GPTQModel, AutoGPTQ, vLLM and transformers load.</summary>
internal static class GptqFile
{
    // The number of groups used to find how zero points are stored, and the required standard error of their mean, in steps.
    private const int FewestGroups = 512;
    private const int MostGroups = 1 << 16;
    private const double Certain = 0.06;

    /// <summary>Writes a model without changing its codes, scales or zero points. Equal models give equal bytes. The folder appears only when it is
    /// complete.</summary>
    /// <param name="model">The model. All weights share one scheme: 2, 3, 4 or 8 bits, per channel or group, with binary16 scales. Inputs are
    /// float.</param>
    /// <param name="folder">The folder to create.</param>
    /// <param name="version">How zero points are stored. Most engines read both; <see cref="GptqVersion.V1"/> is the older version.</param>
    /// <param name="progress">Receives a report after each tensor.</param>
    /// <param name="cancellation">Cancels between tensors and leaves nothing of the folder.</param>
    /// <exception cref="NibbleException">The format cannot hold the model, or the folder already exists.</exception>
    public static void Save(
        QuantizedModel model, string folder, GptqVersion version, IProgress<RunProgress>? progress = null, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(model);
        var scheme = WeightOnlyCheckpoint.SchemeOf(model, "GPTQ");
        if (!GptqConfig.Holds(scheme.Bits))
        {
            throw new NibbleException($"GPTQ cannot hold weights of {scheme.Bits} bits, expected 2, 3, 4 or 8.");
        }

        SafetensorsTensor[] tensors = [.. model.Layers.SelectMany(layer => GptqLayer.Tensors(layer, version)), .. WeightOnlyCheckpoint.FloatTensors(model)];
        CheckpointFolder.Create(folder, model.TokenizerFolder, temporary =>
        {
            SafetensorsWriter.Write(
                Path.Combine(temporary, Checkpoint.WeightsName), WriteProgress.Track(tensors, "write", progress, cancellation), CheckpointFolder.Metadata);
            CheckpointFolder.WriteConfig(temporary, model.ConfigJson, (writer, _) => WriteConfig(writer, model, scheme, version));
        });
    }

    /// <summary>Reads a checkpoint. If the zero points contradict the label, the zero points decide, because some files are mislabelled.</summary>
    /// <param name="folder">The checkpoint's folder.</param>
    /// <param name="version">How the zero points are actually stored.</param>
    /// <param name="label">How the zero points are stored according to the configuration.</param>
    /// <exception cref="NibbleException">A file is missing or broken, or the checkpoint is not a supported GPTQ checkpoint.</exception>
    public static QuantizedModel Load(string folder, out GptqVersion version, out GptqVersion label)
    {
        var config = QuantizationConfigReader.Find(folder) ?? throw new NibbleException(
            $"{folder}: {Checkpoint.ConfigName} has no {Checkpoint.QuantizationKey}, and there is no quantize_config.json next to it; "
            + "expected a checkpoint whose weights are quantized.");
        return Load(folder, config, [], out version, out label);
    }

    /// <summary>Reads a checkpoint whose configuration is already read.</summary>
    internal static QuantizedModel Load(
        string folder, QuantizationConfigReader configuration, ICollection<string> notes, out GptqVersion version, out GptqVersion label)
    {
        var config = GptqConfig.Read(configuration);
        using var checkpoint = Checkpoint.Open(folder, anyName: true);
        var found = FindVersion(checkpoint, config);
        (version, label) = (found, config.Version);
        var wrapped = 0;
        var model = WeightOnlyCheckpoint.Read(
            checkpoint, QuantizationConfigReader.Gptq, name => GptqLayer.Read(checkpoint, name, config, found, ref wrapped), GptqLayer.Parts);
        if (found != label)
        {
            notes.Add($"the checkpoint is labelled {Name(label)}, but its zero points are those of {Name(found)}, and Nibble read them as such");
        }

        if (wrapped > 0)
        {
            notes.Add(string.Create(
                CultureInfo.InvariantCulture,
                $"{wrapped:N0} zero points are 0, which version 1 stores as -1; they are read the way "
                    + $"{(config.BorrowsFromNeighbours ? "GPTQModel, which wrote them," : "AutoGPTQ")} reads them, and other engines may read 2^bits instead"));
        }

        return model;

        static string Name(GptqVersion version) => version == GptqVersion.V1 ? "version 1 (gptq)" : "version 2 (gptq_v2)";
    }

    /// <summary>Determines how zero points are stored.</summary>
    /// <remarks>
    /// Symmetric zero points are stored as 2^(bits-1) in version 2 and one less in version 1. An asymmetric zero point equal to the largest code indicates
    /// version 2, unless version 1 stored a zero point of 0. The weights therefore decide: under the right reading their mean is about zero, and under the
    /// other reading it is a step away.
    /// </remarks>
    private static GptqVersion FindVersion(Checkpoint checkpoint, GptqConfig config)
    {
        var (sum, squares, groups) = (0d, 0d, 0);
        var (first, second) = (0d, 0d);
        foreach (var name in WeightOnlyCheckpoint.LayersOf(checkpoint))
        {
            if (groups >= MostGroups || IsCertain())
            {
                break;
            }

            var layer = GptqLayer.ReadStored(checkpoint, name, config);
            if (layer.Zeros.Length == 0)
            {
                continue;
            }

            if (layer.Scheme.Symmetric is not false && layer.Zeros is [var zero, ..] && zero is 0 or -1 && layer.Zeros.AsSpan().IndexOfAnyExcept(zero) < 0)
            {
                return zero == 0 ? GptqVersion.V2 : GptqVersion.V1;
            }

            if (layer.Scheme.Symmetric is true)
            {
                return config.Version;
            }

            var top = (1 << (layer.Scheme.Bits - 1)) - 1;
            foreach (var (stored, mean) in layer.MeanCodes())
            {
                if (stored == top)
                {
                    // In version 1 the zero point would be the lowest code.
                    (first, second) = (first + mean - (-top - 1), second + mean - stored);
                }
                else
                {
                    (sum, squares, groups) = (sum + mean - stored, squares + ((mean - stored) * (mean - stored)), groups + 1);
                }
            }
        }

        if (IsCertain() && sum / groups is (< 0.25 or > 0.75))
        {
            return sum / groups < 0.25 ? GptqVersion.V2 : GptqVersion.V1;
        }

        // A few groups are weak evidence. If none contradicts it, the largest code as a zero point indicates version 2.
        var isLargest = first != second && Math.Abs(second) < Math.Abs(first) && (groups == 0 || sum / groups < 0.5);
        return groups < FewestGroups && isLargest ? GptqVersion.V2 : config.Version;

        bool IsCertain() => groups >= FewestGroups && Math.Sqrt(Math.Max(0, (squares / groups) - (sum / groups * (sum / groups))) / groups) < Certain;
    }

    /// <summary>Writes the value of <c>quantization_config</c>.</summary>
    /// <remarks>
    /// Engines find the float layers in different ways. GPTQModel and vLLM read <c>dynamic</c>, in which vLLM looks up fused layers by name. transformers
    /// and vLLM read <c>modules_in_block_to_quantize</c>. Older versions of vLLM treat every linear layer that is not listed as quantized.
    /// </remarks>
    private static void WriteConfig(Utf8JsonWriter writer, QuantizedModel model, QuantizationScheme scheme, GptqVersion version)
    {
        var format = version == GptqVersion.V1 ? QuantizationConfigReader.Gptq : "gptq_v2";
        writer.WriteStartObject();
        writer.WriteString("quant_method", QuantizationConfigReader.Gptq);
        writer.WriteString("checkpoint_format", format);
        writer.WriteString("format", format);
        writer.WriteNumber("bits", scheme.Bits);
        writer.WriteNumber("group_size", scheme.Granularity is PerGroup { Size: var size } ? size : -1);
        writer.WriteBoolean("sym", scheme.Symmetric);
        writer.WriteBoolean("desc_act", model.Layers.Any(layer => layer.Weight.GroupIndex is not null));
        writer.WriteBoolean("lm_head", model.Layers.Any(layer => layer.Name == WeightOnlyCheckpoint.Head));
        writer.WriteString("pack_dtype", "int32");
        var floats = WeightOnlyCheckpoint.FloatModules(model);
        if (floats.Count > 0)
        {
            writer.WriteStartObject("dynamic");
            foreach (var module in FusedLayers.AddTo(floats))
            {
                writer.WriteStartObject($"-:^{Regex.Escape(module)}$");
                writer.WriteEndObject();
            }

            writer.WriteEndObject();
            writer.WriteStartArray("modules_in_block_to_quantize");
            writer.WriteStartArray();
            foreach (var layer in model.Layers)
            {
                writer.WriteStringValue(layer.Name);
            }

            writer.WriteEndArray();
            writer.WriteEndArray();
        }

        writer.WriteEndObject();
    }
}
