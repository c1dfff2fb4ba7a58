using System.Globalization;
using System.Text.Json;
using Nibble.Formats.CompressedTensors;
using Nibble.Formats.HuggingFace;
using Nibble.Recipes;

namespace Nibble.Artifacts;

/// <summary><c>nibble.json</c>: what a compressed-tensors checkpoint does not say about a quantized model.</summary>
/// <param name="Format">How codes are stored.</param>
/// <param name="Recipe">The recipe that was followed.</param>
/// <param name="Provenance">Where the model comes from.</param>
/// <param name="ConfigJson">The text of the source's <c>config.json</c>.</param>
/// <param name="Layers">The quantized layers' names and schemes, in the model's order; a rule's pattern is its group's name in <c>quantization_config</c>.</param>
/// <param name="FloatTensors">The names of all other tensors, in the model's order.</param>
/// <param name="StaticKeys">The names of the attention modules whose keys have fixed parameters, in the model's order.</param>
internal sealed record ArtifactManifest(
    CompressedTensorsFormat Format,
    Recipe Recipe,
    Provenance Provenance,
    string ConfigJson,
    IReadOnlyList<(string Name, RecipeRule Scheme)> Layers,
    IReadOnlyList<string> FloatTensors,
    IReadOnlyList<string> StaticKeys)
{
    public const string FileName = "nibble.json";

    private const int SchemaVersion = 1;

    /// <summary>The manifest of a model.</summary>
    public static ArtifactManifest Of(QuantizedModel model)
    {
        var groups = new Dictionary<RecipeRule, RecipeRule>();
        var layers = new List<(string, RecipeRule)>();
        foreach (var layer in model.Layers)
        {
            var scheme = new RecipeRule(string.Empty, layer.Weight.Scheme, layer.Input is { } input ? new ActivationRule(input.Scheme) : null);
            if (!groups.TryGetValue(scheme, out var group))
            {
                group = scheme with { Pattern = string.Create(CultureInfo.InvariantCulture, $"group_{groups.Count}") };
                groups.Add(scheme, group);
            }

            layers.Add((layer.Name, group));
        }

        return new ArtifactManifest(
            CompressedTensorsLayer.FormatFor(model.Layers),
            model.Recipe,
            model.Provenance,
            model.ConfigJson,
            layers,
            [.. model.FloatTensors.Select(tensor => tensor.Name)],
            [.. model.StaticKeys.Select(keys => keys.Name)]);
    }

    /// <summary>The layers of each scheme.</summary>
    public IReadOnlyList<(RecipeRule Scheme, IReadOnlyList<string> Layers)> Groups() =>
        [.. Layers.GroupBy(layer => layer.Scheme).Select(group => (group.Key, (IReadOnlyList<string>)[.. group.Select(layer => layer.Name)]))];

    /// <summary>Writes the file's content.</summary>
    public void Write(Utf8JsonWriter writer)
    {
        writer.WriteStartObject();
        writer.WriteNumber("schema", SchemaVersion);
        writer.WriteString("format", Format.Name());
        writer.WritePropertyName("recipe");
        RecipeFile.Write(writer, Recipe);
        WriteProvenance(writer);
        writer.WriteString("config", ConfigJson);
        writer.WritePropertyName("schemes");
        RecipeFile.WriteRules(writer, Groups().Select(group => group.Scheme));
        writer.WriteStartArray("layers");
        foreach (var (name, scheme) in Layers)
        {
            writer.WriteStartObject();
            writer.WriteString("name", name);
            writer.WriteString("scheme", scheme.Pattern);
            writer.WriteEndObject();
        }

        writer.WriteEndArray();
        WriteNames(writer, "floatTensors", FloatTensors);
        WriteNames(writer, "staticKeys", StaticKeys);
        writer.WriteEndObject();
    }

    /// <summary>Reads the file.</summary>
    /// <exception cref="NibbleException">The file is missing or not a valid manifest.</exception>
    public static ArtifactManifest Read(string path)
    {
        using var document = JsonFile.ReadObject(path);
        try
        {
            return Read(path, document.RootElement);
        }
        catch (Exception exception) when (exception is KeyNotFoundException or InvalidOperationException or FormatException or ArgumentException)
        {
            // A missing property, a value of another type or form, a key that stands twice.
            throw new NibbleException($"{path} is not a valid manifest of a quantized model: {exception.Message}", exception);
        }
    }

    private static ArtifactManifest Read(string path, JsonElement root)
    {
        if (root.GetProperty("schema").GetInt32() is var schema and not SchemaVersion)
        {
            throw new NibbleException($"{path} has schema version {schema}; this version of Nibble reads {SchemaVersion}.");
        }

        var format = Enum.GetValues<CompressedTensorsFormat>().Where(known => known.Name() == root.GetProperty("format").GetString()).ToArray() is [var found]
            ? found
            : throw new NibbleException($"{path}: the format {root.GetProperty("format")} is unknown.");
        var schemes = RecipeFile.ParseYaml($$"""{"rules":{{root.GetProperty("schemes").GetRawText()}}}""", $"{path} (schemes)").Rules;
        if (schemes.Any(scheme => scheme.Weights is null) || schemes.DistinctBy(scheme => scheme.Pattern).Count() != schemes.Count)
        {
            throw new NibbleException($"{path}: each scheme needs weights and a name of its own.");
        }

        var byName = schemes.ToDictionary(scheme => scheme.Pattern, StringComparer.Ordinal);
        return new ArtifactManifest(
            format,
            RecipeFile.ParseYaml(root.GetProperty("recipe").GetRawText(), $"{path} (recipe)"),
            ReadProvenance(root.GetProperty("provenance")),
            Text(root, "config"),
            [.. root.GetProperty("layers").EnumerateArray().Select(layer => (Text(layer, "name"), Scheme(layer)))],
            ReadNames(root.GetProperty("floatTensors")),

            // Artifacts from before caches were quantized do not have it.
            root.TryGetProperty("staticKeys", out var keys) ? ReadNames(keys) : []);

        RecipeRule Scheme(JsonElement layer) => byName.TryGetValue(Text(layer, "scheme"), out var scheme)
            ? scheme
            : throw new NibbleException($"{path}: layer {Text(layer, "name")} has scheme {Text(layer, "scheme")}, which is not among {string.Join(", ", byName.Keys)}.");
    }

    private static void WriteNames(Utf8JsonWriter writer, string key, IEnumerable<string> names)
    {
        writer.WriteStartArray(key);
        foreach (var name in names)
        {
            writer.WriteStringValue(name);
        }

        writer.WriteEndArray();
    }

    private static string[] ReadNames(JsonElement names) => [.. names.EnumerateArray().Select(name => name.GetString() ?? throw new FormatException("a name is null"))];

    private void WriteProvenance(Utf8JsonWriter writer)
    {
        writer.WriteStartObject("provenance");
        writer.WriteString("version", Provenance.Version);
        writer.WriteString("method", Provenance.Method);
        writer.WriteNumber("seed", Provenance.Seed);
        writer.WriteStartObject("sourceHashes");
        foreach (var (file, hash) in Provenance.SourceHashes.OrderBy(pair => pair.Key, StringComparer.Ordinal))
        {
            writer.WriteString(file, hash);
        }

        writer.WriteEndObject();
        writer.WriteStartObject("metrics");
        foreach (var (name, value) in Provenance.Metrics.OrderBy(pair => pair.Key, StringComparer.Ordinal))
        {
            if (double.IsFinite(value))
            {
                writer.WriteNumber(name, value);
            }
            else
            {
                // JSON has no such numbers, and the perplexity of a ruined model is infinite.
                writer.WriteString(name, value.ToString(CultureInfo.InvariantCulture));
            }
        }

        writer.WriteEndObject();
        writer.WriteEndObject();
    }

    private static Provenance ReadProvenance(JsonElement element) => new(
        Text(element, "version"),
        Text(element, "method"),
        element.GetProperty("seed").GetInt64(),
        new SortedDictionary<string, string>(
            element.GetProperty("sourceHashes").EnumerateObject().ToDictionary(hash => hash.Name, hash => hash.Value.GetString() ?? string.Empty), StringComparer.Ordinal),
        new SortedDictionary<string, double>(
            element.GetProperty("metrics").EnumerateObject().ToDictionary(
                metric => metric.Name,
                metric => metric.Value.ValueKind == JsonValueKind.String ? double.Parse(metric.Value.GetString()!, CultureInfo.InvariantCulture) : metric.Value.GetDouble()),
            StringComparer.Ordinal));

    private static string Text(JsonElement element, string key) => element.GetProperty(key).GetString() ?? throw new FormatException($"{key} is null");
}
