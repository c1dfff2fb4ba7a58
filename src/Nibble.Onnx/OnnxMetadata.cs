using System.Globalization;
using Nibble.Formats.CompressedTensors;
using Nibble.Formats.HuggingFace;

namespace Nibble.Onnx;

/// <summary>What a file's metadata say about the model that was exported.</summary>
/// <param name="Manifest">The manifest of an artifact. Null for a float model.</param>
/// <param name="ConfigJson">The text of its <c>config.json</c>, with its task.</param>
/// <param name="Place">The location of that text, for messages.</param>
internal sealed record ExportedDescription(ArtifactManifest? Manifest, string ConfigJson, string Place);

/// <summary>The metadata of files that Nibble exports, by name. With them, a file can run without the model's folder.</summary>
internal static class OnnxMetadata
{
    /// <summary>The id of the tokenizer's start token. Absent if it has none.</summary>
    public const string BeginsText = "nibble.bos_token_id";

    /// <summary>The ids at which generated text ends, separated by commas.</summary>
    public const string EndsText = "nibble.eos_token_id";

    /// <summary>The model's maximum number of tokens.</summary>
    public const string MaxSequence = "nibble.max_sequence";

    /// <summary>How a graph of any origin was quantized, in words.</summary>
    public const string Quantization = "nibble.quantization";

    /// <summary>The text of a float model's <c>config.json</c>.</summary>
    public const string Config = "nibble.config";

    /// <summary>The text of an artifact's <c>nibble.json</c>, which includes that of <c>config.json</c>.</summary>
    public const string Artifact = "nibble.artifact";

    /// <summary>Reads the description of the model.</summary>
    /// <param name="path">The file, for messages.</param>
    /// <param name="metadata">Returns the text with a name. Null if the file does not have it.</param>
    /// <param name="producer">The program that wrote the file, for messages. Empty if it is not known.</param>
    /// <exception cref="NibbleException">The file was not exported by Nibble, or its manifest is damaged.</exception>
    public static ExportedDescription Describe(string path, Func<string, string?> metadata, string producer)
    {
        ArgumentNullException.ThrowIfNull(metadata);
        var manifest = metadata(Artifact) is { } text ? ArtifactManifest.Parse(text, $"{path}, metadata {Artifact}") : null;
        var origin = string.IsNullOrEmpty(producer) ? "it does not name its producer" : $"this one is from {producer}";
        var config = manifest?.ConfigJson ?? metadata(Config) ?? throw new NibbleException(
            $"{path}: ONNX files of other tools are not supported ({origin}). "
            + $"Its metadata have neither {Artifact} nor {Config}, one of which a file exported by this version of Nibble has. "
            + "Use the folder that it was made from, or export the folder again");
        return new ExportedDescription(manifest, config, $"{path}, metadata {(manifest is null ? Config : Artifact)}");
    }

    /// <summary>Whether a file's metadata say which model was exported, so that <see cref="Describe"/> can read it.</summary>
    public static bool HasModel(OnnxFile file)
    {
        ArgumentNullException.ThrowIfNull(file);
        return file.Metadata.Any(entry => entry.Key is Config or Artifact);
    }

    /// <summary>Reads a number. Returns null if the file does not have it.</summary>
    public static int? Number(IReadOnlyDictionary<string, string> metadata, string name)
    {
        ArgumentNullException.ThrowIfNull(metadata);
        return int.TryParse(metadata.GetValueOrDefault(name), NumberStyles.None, CultureInfo.InvariantCulture, out var number) ? number : null;
    }

    /// <summary>Reads numbers separated by commas. Returns null if the file does not have them.</summary>
    public static IReadOnlyList<int>? Numbers(IReadOnlyDictionary<string, string> metadata, string name)
    {
        ArgumentNullException.ThrowIfNull(metadata);
        var numbers = new List<int>();
        foreach (var word in metadata.GetValueOrDefault(name)?.Split(',') ?? [])
        {
            if (!int.TryParse(word, NumberStyles.None, CultureInfo.InvariantCulture, out var number))
            {
                return null;
            }

            numbers.Add(number);
        }

        return numbers.Count > 0 ? numbers : null;
    }

    /// <summary>The metadata of a model.</summary>
    internal static IEnumerable<KeyValuePair<string, string>> Of(ModelTensors tensors, int? maxSequence)
    {
        var (begins, ends) = Marks(tensors.Folder);
        foreach (var (name, numbers) in ((string, IEnumerable<int>)[])[(BeginsText, One(begins)), (EndsText, ends), (MaxSequence, One(maxSequence))])
        {
            if (numbers.Any())
            {
                yield return new(name, string.Join(',', numbers.Select(number => number.ToString(CultureInfo.InvariantCulture))));
            }
        }

        if (tensors.Manifest is not { } manifest)
        {
            yield return new(Config, tensors.ConfigJson);
        }
        else
        {
            yield return new("nibble.recipe", manifest.Recipe.Name);
            yield return new("nibble.method", manifest.Provenance.Method);
            foreach (var (file, hash) in manifest.Provenance.SourceHashes.OrderBy(entry => entry.Key, StringComparer.Ordinal))
            {
                yield return new($"nibble.source.{file}", hash);
            }

            yield return new(Artifact, manifest.ToJson());
        }
    }

    private static IEnumerable<int> One(int? number) => number is { } value ? [value] : [];

    /// <summary>The start token and stop tokens. A graph needs no tokenizer, so a missing or unsupported one is not an error here.</summary>
    private static (int? Begins, IReadOnlyList<int> Ends) Marks(string folder)
    {
        try
        {
            var tokenizer = TextTokenizer.Load(folder);
            return (tokenizer.StartId, tokenizer.StopIds);
        }
        catch (NibbleException)
        {
            return (null, []);
        }
    }
}
