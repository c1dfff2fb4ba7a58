using Nibble.Artifacts;
using Nibble.Formats.HuggingFace;
using Nibble.Formats.Safetensors;

namespace Nibble.Formats.Gptq;

/// <summary>Quantized models as GPTQ checkpoints, which GPTQModel, AutoGPTQ, vLLM and transformers load.</summary>
public static class GptqFile
{
    /// <summary>Writes a model; its codes, scales and zero points stay as they are. Equal models give equal bytes, and the folder appears only once it is whole.</summary>
    /// <param name="model">Weights of 2, 3, 4 or 8 bits, per channel or group, of one scheme, with scales in binary16; inputs stay float.</param>
    /// <param name="folder">The folder to create.</param>
    /// <param name="version">How zero points are stored. Most engines read both; <see cref="GptqVersion.V1"/> is the older.</param>
    /// <exception cref="NibbleException">The format cannot hold the model, or the folder exists already.</exception>
    public static void Save(QuantizedModel model, string folder, GptqVersion version)
    {
        ArgumentNullException.ThrowIfNull(model);
        var scheme = WeightOnlyCheckpoint.SchemeOf(model, "GPTQ");
        if (!GptqConfig.Holds(scheme.Bits))
        {
            throw new NibbleException($"GPTQ cannot hold weights of {scheme.Bits} bits, expected 2, 3, 4 or 8.");
        }

        var config = new GptqConfig(scheme, model.Layers.Any(layer => layer.Weight.GroupIndex is not null), version);
        SafetensorsTensor[] tensors = [.. model.Layers.SelectMany(layer => GptqLayer.Tensors(layer, version)), .. WeightOnlyCheckpoint.FloatTensors(model)];
        CheckpointFolder.Create(folder, model.TokenizerFolder, temporary =>
        {
            SafetensorsWriter.Write(Path.Combine(temporary, Checkpoint.WeightsName), tensors, CheckpointFolder.Metadata);
            CheckpointFolder.WriteConfig(temporary, model.ConfigJson, (writer, _) => config.Write(writer));
        });
    }

    /// <summary>Reads a checkpoint. Where the zero points contradict the label, they are believed, as files exist that are mislabelled.</summary>
    /// <param name="folder">The checkpoint's folder.</param>
    /// <param name="version">How the zero points turned out to be stored.</param>
    /// <param name="label">How the configuration says that they are stored.</param>
    /// <exception cref="NibbleException">A file is missing or broken, or the checkpoint holds something else.</exception>
    public static QuantizedModel Load(string folder, out GptqVersion version, out GptqVersion label)
    {
        using var checkpoint = Checkpoint.Open(folder);
        var config = GptqConfig.Read(checkpoint);
        var found = FindVersion(checkpoint, config);
        (version, label) = (found, config.Version);
        return WeightOnlyCheckpoint.Read(checkpoint, GptqConfig.Method, name => GptqLayer.Read(checkpoint, name, config, found), GptqLayer.Parts);
    }

    /// <summary>
    /// Symmetric zero points are stored as 2^(bits-1) in version 2 and one less in version 1. Asymmetric ones are at least 1 in version 1, so that the largest code, which
    /// would stand for a zero point of 2^bits, says version 2; else the label is all there is.
    /// </summary>
    private static GptqVersion FindVersion(Checkpoint checkpoint, GptqConfig config)
    {
        var ends = checkpoint.TensorNames.Where(name => name.EndsWith(".qzeros", StringComparison.Ordinal)).Select(name => name[..^".qzeros".Length]);
        foreach (var zeros in ends.Select(name => GptqLayer.ReadStoredZeros(checkpoint, name, config)))
        {
            if (config.Scheme.Symmetric && zeros is [var first, ..])
            {
                return first == 0 ? GptqVersion.V2 : first == -1 ? GptqVersion.V1 : config.Version;
            }

            if (zeros.Contains((sbyte)config.Scheme.Codes.Max))
            {
                return GptqVersion.V2;
            }
        }

        return config.Version;
    }
}
