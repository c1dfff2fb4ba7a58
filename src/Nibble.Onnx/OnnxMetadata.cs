using System.Globalization;
using Nibble.Formats.HuggingFace;

namespace Nibble.Onnx;

/// <summary>The metadata of files that Nibble exports, by name. With them, a file can run without the model's folder.</summary>
internal static class OnnxMetadata
{
    /// <summary>The id of the tokenizer's start token. Absent if it has none.</summary>
    public const string BeginsText = "nibble.bos_token_id";

    /// <summary>The ids at which generated text ends, separated by commas.</summary>
    public const string EndsText = "nibble.eos_token_id";

    /// <summary>The model's maximum number of tokens.</summary>
    public const string MaxSequence = "nibble.max_sequence";

    /// <summary>The text of a float model's <c>config.json</c>.</summary>
    public const string Config = "nibble.config";

    /// <summary>The text of an artifact's <c>nibble.json</c>, which includes that of <c>config.json</c>.</summary>
    public const string Artifact = "nibble.artifact";

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
