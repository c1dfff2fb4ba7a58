using System.Text.Json;
using Nibble.Artifacts;
using Nibble.Files;
using Nibble.Formats.HuggingFace;
using Nibble.Formats.Safetensors;
using Nibble.Numerics;
using Nibble.Recipes;

namespace Nibble.Formats.CompressedTensors;

/// <summary>Quantized models on disk: a Hugging Face folder in compressed-tensors layout, plus <c>nibble.json</c>.</summary>
/// <remarks>
/// The folder holds <c>config.json</c> (the source's, with <c>quantization_config</c>), <c>model.safetensors</c>, the tokenizer's files and
/// <c>nibble.json</c> (recipe, provenance, layers). Loading a saved model gives an equal model whose tokenizer folder is the artifact. Groups that do not
/// divide a row are stored unchanged, but other engines refuse such layers. Other engines also refuse a model with a layer that transforms its input,
/// because they do not know its <c>quant_method</c>.
/// </remarks>
public static class QuantizedModelFile
{
    /// <summary>Whether a folder holds a quantized model that <see cref="Save"/> wrote.</summary>
    public static bool IsArtifact(string folder) => File.Exists(Path.Combine(folder, ArtifactManifest.FileName));

    /// <summary>The size of an artifact's tensors on disk, in bytes.</summary>
    public static long TensorBytes(string folder) => InputFile.Length(Path.Combine(folder, Checkpoint.WeightsName));

    /// <summary>Reports which layers of an artifact or a float checkpoint are quantized, without reading any tensor data.</summary>
    /// <param name="folder">The folder.</param>
    public static RunSummary Summarize(string folder)
    {
        using var checkpoint = Checkpoint.Open(folder);
        var manifest = IsArtifact(folder) ? ArtifactManifest.Read(Path.Combine(folder, ArtifactManifest.FileName)) : null;
        return RunSummary.OfCodes(
            manifest is null ? [] : manifest.Layers.Select(layer => (layer.Name, layer.Scheme.Weights!, layer.Scheme.Activations?.Scheme)),
            (manifest?.FloatTensors ?? checkpoint.TensorNames).Select(name => (name, checkpoint.Entry(name).Shape.Count)));
    }

    /// <summary>Computes the size of an artifact's tensors on disk, in bytes, from their names, types and shapes.</summary>
    /// <param name="tensors">Float tensors, and the <see cref="CompressedTensorsLayer.Layout"/> of each quantized layer.</param>
    /// <param name="staticKeys">The blocks whose keys have static parameters.</param>
    /// <param name="keys">The scheme of those keys; null if there are none.</param>
    internal static long CountTensorBytes(IEnumerable<SafetensorsTensor> tensors, IEnumerable<KeyQuantization> staticKeys, QuantizationScheme? keys) =>
        SafetensorsWriter.CountBytes([.. tensors, .. staticKeys.SelectMany(block => CompressedTensorsKeys.Tensors(block, keys!))], CheckpointFolder.Metadata);

    /// <summary>Saves a model. Equal models give equal bytes. The folder appears only when it is complete.</summary>
    /// <param name="model">The model.</param>
    /// <param name="folder">The folder to create.</param>
    /// <param name="progress">Receives a report after each tensor.</param>
    /// <param name="cancellation">Cancels between tensors and leaves nothing of the folder.</param>
    /// <exception cref="NibbleException">The folder already exists, or the tokenizer's folder does not.</exception>
    /// <exception cref="ArgumentException">The model is inconsistent, for example if its scale precision cannot represent a scale.</exception>
    public static void Save(QuantizedModel model, string folder, IProgress<RunProgress>? progress = null, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(model);
        var format = CompressedTensorsLayer.FormatFor(model.Layers.Select(layer => (layer.Weight.Scheme, layer.Input?.Scheme)));
        SaveFolder(model, format, folder, checksummed: false, progress, cancellation);
    }

    /// <summary>Saves some layers and tensors of a model that is quantized in parts, with checksums. <see cref="Join"/> combines the parts.</summary>
    /// <param name="part">The layers and tensors of the part, with the recipe, provenance and configuration of the whole model.</param>
    /// <param name="format">How the whole model stores codes: <see cref="CompressedTensorsLayer.FormatFor"/> of all its layers.</param>
    /// <param name="folder">The folder to create.</param>
    /// <exception cref="NibbleException">The folder already exists, or the tokenizer's folder does not.</exception>
    /// <exception cref="ArgumentException">The part is inconsistent, for example if its scale precision cannot represent a scale.</exception>
    internal static void SavePart(QuantizedModel part, CompressedTensorsFormat format, string folder)
    {
        ArgumentNullException.ThrowIfNull(part);
        SaveFolder(part, format, folder, checksummed: true, progress: null, CancellationToken.None);
    }

    /// <summary>Combines saved parts into one artifact, one tensor at a time.</summary>
    /// <param name="parts">The folders of the parts, in the model's order. They share the recipe, provenance and configuration.</param>
    /// <param name="others">Float tensors that belong to no part.</param>
    /// <param name="tokenizerFolder">The folder that holds the tokenizer's files.</param>
    /// <param name="folder">The folder to create.</param>
    /// <exception cref="NibbleException">A part is missing or broken, or the folder already exists.</exception>
    /// <exception cref="DamagedFileException">A part does not match its checksums.</exception>
    internal static void Join(IReadOnlyList<string> parts, IReadOnlyList<SafetensorsTensor> others, string tokenizerFolder, string folder)
    {
        ArgumentNullException.ThrowIfNull(parts);
        ArgumentNullException.ThrowIfNull(others);
        ArgumentOutOfRangeException.ThrowIfZero(parts.Count, nameof(parts));
        foreach (var part in parts)
        {
            FolderChecksums.Require(part, "the work cannot be resumed from it: start over");
        }

        var manifests = parts.Select(part => ArtifactManifest.Read(Path.Combine(part, ArtifactManifest.FileName))).ToList();
        var files = new List<SafetensorsFile>();
        try
        {
            var tensors = others.ToList();
            foreach (var part in parts)
            {
                var file = SafetensorsFile.Open(Path.Combine(part, Checkpoint.WeightsName));
                files.Add(file);
                tensors.AddRange(file.Tensors.Select(
                    entry => new SafetensorsTensor(entry.Name, entry.ElementType, entry.Shape, stream => file.CopyTo(entry.Name, stream))));
            }

            CheckpointFolder.Create(folder, tokenizerFolder, temporary => Write(ArtifactManifest.Join(manifests, others), temporary, tensors));
        }
        finally
        {
            files.ForEach(file => file.Dispose());
        }
    }

    /// <summary>Loads a saved model.</summary>
    /// <exception cref="NibbleException">The folder holds no saved model, or its files are broken or inconsistent.</exception>
    public static QuantizedModel Load(string folder)
    {
        using var reader = ArtifactReader.Open(folder);
        return reader.Read();
    }

    private static void SaveFolder(
        QuantizedModel model, CompressedTensorsFormat format, string folder, bool checksummed, IProgress<RunProgress>? progress,
        CancellationToken cancellation)
    {
        RequireConsistent(model);
        var manifest = ArtifactManifest.Of(model, format);
        CheckpointFolder.Create(folder, model.TokenizerFolder, temporary =>
        {
            SafetensorsTensor[] tensors =
            [
                .. model.Layers.SelectMany(layer => CompressedTensorsLayer.Tensors(layer, format)),
                .. model.StaticKeys.SelectMany(keys => CompressedTensorsKeys.Tensors(keys, model.Recipe.KeyValueCache!.Keys!)),
                .. model.FloatTensors.Select(tensor =>
                    SafetensorsTensor.FromFloats(tensor.Name, tensor.StoredAs, [.. tensor.Shape.Select(size => (long)size)], tensor.Values)),
            ];
            Write(manifest, temporary, WriteProgress.Track(tensors, "write", progress, cancellation));
            if (checksummed)
            {
                FolderChecksums.Write(temporary);
            }
        });
    }

    private static void Write(ArtifactManifest manifest, string folder, IReadOnlyList<SafetensorsTensor> tensors)
    {
        SafetensorsWriter.Write(Path.Combine(folder, Checkpoint.WeightsName), tensors, CheckpointFolder.Metadata);
        CheckpointFolder.WriteConfig(
            folder, manifest.ConfigJson, (writer, config) => CompressedTensorsConfig.Write(writer, manifest, Ignored(manifest, tensors), config));
        CheckpointFolder.WriteJson(Path.Combine(folder, ArtifactManifest.FileName), manifest.Write);
    }

    /// <summary>The modules that stay float but that an engine might take for linear layers.</summary>
    private static IEnumerable<string> Ignored(ArtifactManifest manifest, IReadOnlyList<SafetensorsTensor> tensors)
    {
        const string Suffix = ".weight";
        const string Head = "lm_head";
        var floats = manifest.FloatTensors.ToHashSet(StringComparer.Ordinal);
        var matrices = tensors
            .Where(tensor => floats.Contains(tensor.Name) && tensor.Shape.Count == 2 && tensor.Name.EndsWith(Suffix, StringComparison.Ordinal))
            .Select(tensor => tensor.Name[..^Suffix.Length]);

        // A head that shares the embedding's weights has no separate tensor.
        return (manifest.Layers.Any(layer => layer.Name == Head) ? matrices : matrices.Append(Head)).Distinct().Order(StringComparer.Ordinal);
    }

    private static void RequireConsistent(QuantizedModel model)
    {
        using (var config = JsonDocument.Parse(model.ConfigJson))
        {
            Require(config.RootElement.ValueKind == JsonValueKind.Object, "config.json", "is not a JSON object");
        }

        foreach (var layer in model.Layers)
        {
            RequireNone(layer.FindFault(), layer.Name);
            Require(ArtifactReader.HasShapeOfWeight(layer), layer.Name, "has a shape that does not match its codes");
        }

        Require(model.Recipe.KeyValueCache is { HasStaticKeys: true } == model.StaticKeys.Count > 0, model.Recipe.Name,
            "and the model disagree on whether keys have static parameters");
        foreach (var keys in model.StaticKeys)
        {
            var scheme = model.Recipe.KeyValueCache!.Keys!;
            Require(keys.Heads >= 1 && keys.Scales.Length >= keys.Heads && keys.Scales.Length % keys.Heads == 0, keys.Name,
                "does not have the same number of scales for each head");
            Require(keys.ZeroPoints.Length == (scheme.Symmetric ? 0 : keys.Scales.Length), keys.Name, "has the wrong number of zero points for its scheme");
            Require(keys.ZeroPoints.AsSpan().IndexOfAnyExceptInRange((sbyte)scheme.Codes.Min, (sbyte)scheme.Codes.Max) < 0, keys.Name,
                "has zero points outside the range of its scheme");
            RequireNone(QuantizedLayer.FindScaleFault(scheme, keys.Scales), keys.Name);
        }

        foreach (var tensor in model.FloatTensors)
        {
            Require(tensor.StoredAs.IsFloatingPoint(), tensor.Name, $"is stored as {tensor.StoredAs}, not as a floating-point type");
            Require(FiniteValues.IndexOfFault(tensor.Values) < 0, tensor.Name, "has values that are NaN or infinite");
            Require(Array.TrueForAll(tensor.Values, value => tensor.StoredAs.Round(value).Equals(value)), tensor.Name,
                $"has values that {tensor.StoredAs} cannot represent");
        }
    }

    private static void RequireNone(string? fault, string name) => Require(fault is null, name, fault ?? string.Empty);

    private static void Require(bool condition, string name, string fault)
    {
        if (!condition)
        {
            throw new ArgumentException($"{name} {fault}.");
        }
    }
}
