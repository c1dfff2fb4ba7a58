using System.Globalization;
using System.Text;
using System.Text.Json;
using Nibble.Artifacts;
using Nibble.Formats.HuggingFace;
using Nibble.Formats.Safetensors;
using Nibble.Recipes;

namespace Nibble.Formats.CompressedTensors;

/// <summary>A quantized layer as the manifest describes it.</summary>
/// <param name="Name">The layer's name.</param>
/// <param name="Scheme">Its schemes and how they were chosen. The pattern is the name of the layer's group in <c>quantization_config</c>.</param>
/// <param name="HasGroupIndex">Whether its groups hold scattered columns.</param>
/// <param name="Transform">The transform applied to its input.</param>
/// <param name="Shape">The weight's shape if it has more than two axes; otherwise null.</param>
internal sealed record ManifestLayer(string Name, RecipeRule Scheme, bool HasGroupIndex, InputTransform Transform, IReadOnlyList<int>? Shape = null);

/// <summary><c>nibble.json</c>: what a compressed-tensors checkpoint cannot record about a quantized model.</summary>
/// <param name="Format">How codes are stored.</param>
/// <param name="Recipe">The recipe that the model was quantized with.</param>
/// <param name="Provenance">Where the model comes from.</param>
/// <param name="ConfigJson">The source model's <c>config.json</c>, as text.</param>
/// <param name="Layers">The quantized layers, in the model's order.</param>
/// <param name="FloatTensors">The names of all other tensors, in the model's order.</param>
/// <param name="StaticKeys">The names of the attention modules whose keys have static parameters, in the model's order.</param>
internal sealed record ArtifactManifest(
    CompressedTensorsFormat Format,
    Recipe Recipe,
    Provenance Provenance,
    string ConfigJson,
    IReadOnlyList<ManifestLayer> Layers,
    IReadOnlyList<string> FloatTensors,
    IReadOnlyList<string> StaticKeys)
{
    /// <summary>The file's name.</summary>
    public const string FileName = "nibble.json";

    private const int SchemaVersion = 1;
    private const string TransformKey = "inputTransform";
    private const string ShapeKey = "shape";
    private const string Hadamard = "hadamard";

    /// <summary>The manifest of a complete model.</summary>
    public static ArtifactManifest Of(QuantizedModel model)
    {
        ArgumentNullException.ThrowIfNull(model);
        return Of(model, CompressedTensorsLayer.FormatFor(model.Layers.Select(layer => (layer.Weight.Scheme, layer.Input?.Scheme))));
    }

    /// <summary>The manifest as <see cref="Of(QuantizedModel)"/> makes it of the whole model: the schemes alone, named in the order of the layers.</summary>
    internal ArtifactManifest Normalized() => this with
    {
        Format = CompressedTensorsLayer.FormatFor(Layers.Select(layer => (layer.Scheme.Weights!, layer.Scheme.Activations?.Scheme))),
        Layers = NameSchemes(Layers.Select(layer => layer with
        {
            Scheme = new RecipeRule(string.Empty, layer.Scheme.Weights, layer.Scheme.Activations is { } input ? new ActivationRule(input.Scheme) : null)
            {
                WeightMethod = layer.Scheme.WeightMethod,
                ActivationMethod = layer.Scheme.ActivationMethod,
            },
        })),
    };

    /// <summary>The manifest of a model or of part of one.</summary>
    internal static ArtifactManifest Of(QuantizedModel model, CompressedTensorsFormat format) => new(
        format,
        model.Recipe,
        model.Provenance,
        model.ConfigJson,
        NameSchemes(model.Layers.Select(layer => new ManifestLayer(
            layer.Name,
            new RecipeRule(string.Empty, layer.Weight.Scheme, layer.Input is { } input ? new ActivationRule(input.Scheme) : null)
            {
                WeightMethod = layer.WeightMethod,
                ActivationMethod = layer.InputMethod,
            },
            layer.Weight.GroupIndex is not null,
            layer.InputTransform,
            layer.Shape))),
        [.. model.FloatTensors.Select(tensor => tensor.Name)],
        [.. model.StaticKeys.Select(keys => keys.Name)]);

    /// <summary>Joins the manifests of a model's parts.</summary>
    /// <param name="parts">The parts' manifests, in the model's order.</param>
    /// <param name="others">Float tensors that belong to no part.</param>
    /// <exception cref="NibbleException">The parts store codes in different formats.</exception>
    internal static ArtifactManifest Join(IReadOnlyList<ArtifactManifest> parts, IEnumerable<SafetensorsTensor> others)
    {
        if (parts.Any(part => part.Format != parts[0].Format))
        {
            throw new NibbleException("The parts of the model store codes in different formats, so they come from different runs; start over.");
        }

        return parts[0] with
        {
            // Each part numbers its own schemes.
            Layers = NameSchemes(parts.SelectMany(part => part.Layers)),
            FloatTensors = [.. parts.SelectMany(part => part.FloatTensors), .. others.Select(tensor => tensor.Name)],
            StaticKeys = [.. parts.SelectMany(part => part.StaticKeys)],
        };
    }

    /// <summary>The layers that use each scheme.</summary>
    internal IReadOnlyList<(RecipeRule Scheme, bool HasGroupIndex, IReadOnlyList<string> Layers)> Groups() =>
        [.. Layers.GroupBy(layer => (layer.Scheme, layer.HasGroupIndex))
            .Select(group => (group.Key.Scheme, group.Key.HasGroupIndex, (IReadOnlyList<string>)[.. group.Select(layer => layer.Name)]))];

    /// <summary>The manifest as JSON text. Equal manifests give equal text.</summary>
    public string ToJson()
    {
        using var text = new MemoryStream();
        using (var writer = new Utf8JsonWriter(text, RecipeFile.JsonOptions))
        {
            Write(writer);
        }

        return Encoding.UTF8.GetString(text.GetBuffer(), 0, (int)text.Length);
    }

    /// <summary>Writes the file's content.</summary>
    internal void Write(Utf8JsonWriter writer)
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
        foreach (var (name, scheme, hasGroupIndex, transform, shape) in Layers)
        {
            writer.WriteStartObject();
            writer.WriteString("name", name);
            writer.WriteString("scheme", scheme.Pattern);
            if (hasGroupIndex)
            {
                writer.WriteBoolean("groupIndex", true);
            }

            if (transform == InputTransform.Hadamard)
            {
                writer.WriteString(TransformKey, Hadamard);
            }

            if (shape is not null)
            {
                writer.WriteStartArray(ShapeKey);
                foreach (var size in shape)
                {
                    writer.WriteNumberValue(size);
                }

                writer.WriteEndArray();
            }

            writer.WriteEndObject();
        }

        writer.WriteEndArray();
        WriteNames(writer, "floatTensors", FloatTensors);
        WriteNames(writer, "staticKeys", StaticKeys);
        writer.WriteEndObject();
    }

    /// <summary>Parses a manifest.</summary>
    /// <param name="json">JSON text.</param>
    /// <param name="source">The text's origin, for messages.</param>
    /// <exception cref="NibbleException">The text is not a valid manifest.</exception>
    public static ArtifactManifest Parse(string json, string source)
    {
        ArgumentNullException.ThrowIfNull(json);
        using var document = JsonFile.ParseObject(Encoding.UTF8.GetBytes(json), source);
        return Parse(document, source);
    }

    /// <summary>Reads a manifest file.</summary>
    /// <exception cref="NibbleException">The file is missing or not a valid manifest.</exception>
    internal static ArtifactManifest Read(string path)
    {
        using var document = JsonFile.ReadObject(path);
        return Parse(document, path);
    }

    private static ArtifactManifest Parse(JsonDocument document, string path)
    {
        try
        {
            return Read(path, document.RootElement);
        }
        catch (Exception exception) when (exception is KeyNotFoundException or InvalidOperationException or FormatException or ArgumentException)
        {
            // A property is missing, has the wrong type or form, or occurs twice.
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
            throw new NibbleException($"{path}: each scheme needs weights and a unique name.");
        }

        var byName = schemes.ToDictionary(scheme => scheme.Pattern, StringComparer.Ordinal);
        return new ArtifactManifest(
            format,
            RecipeFile.ParseYaml(root.GetProperty("recipe").GetRawText(), $"{path} (recipe)"),
            ReadProvenance(root.GetProperty("provenance")),
            Text(root, "config"),
            [.. root.GetProperty("layers").EnumerateArray().Select(layer => new ManifestLayer(
                Text(layer, "name"),
                Scheme(layer),
                layer.TryGetProperty("groupIndex", out var groupIndex) && groupIndex.GetBoolean(),
                Transform(layer),
                layer.TryGetProperty(ShapeKey, out var shape) ? [.. shape.EnumerateArray().Select(size => size.GetInt32())] : null))],
            ReadNames(root.GetProperty("floatTensors")),

            // Older artifacts do not have this property.
            root.TryGetProperty("staticKeys", out var keys) ? ReadNames(keys) : []);

        RecipeRule Scheme(JsonElement layer) => byName.TryGetValue(Text(layer, "scheme"), out var scheme)
            ? scheme
            : throw new NibbleException(
                $"{path}: layer {Text(layer, "name")} has scheme {Text(layer, "scheme")}, which is not among {string.Join(", ", byName.Keys)}.");
    }

    private static InputTransform Transform(JsonElement layer) => !layer.TryGetProperty(TransformKey, out _) ? InputTransform.None
        : Text(layer, TransformKey) == Hadamard ? InputTransform.Hadamard
        : throw new FormatException($"layer {Text(layer, "name")} has the input transform {Text(layer, TransformKey)}, expected {Hadamard}");

    private static void WriteNames(Utf8JsonWriter writer, string key, IEnumerable<string> names)
    {
        writer.WriteStartArray(key);
        foreach (var name in names)
        {
            writer.WriteStringValue(name);
        }

        writer.WriteEndArray();
    }

    private static string[] ReadNames(JsonElement names) =>
        [.. names.EnumerateArray().Select(name => name.GetString() ?? throw new FormatException("a name is null"))];

    private void WriteProvenance(Utf8JsonWriter writer)
    {
        writer.WriteStartObject("provenance");
        writer.WriteString("version", Provenance.Version);
        writer.WriteString("method", Provenance.Method);
        writer.WriteNumber("seed", Provenance.Seed);
        if (Provenance.Calibration is { } calibration)
        {
            writer.WriteString("calibration", calibration);
        }

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
                // JSON has no infinity or NaN, and the perplexity of a ruined model is infinite.
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
            element.GetProperty("sourceHashes").EnumerateObject().ToDictionary(hash => hash.Name, hash => hash.Value.GetString() ?? string.Empty),
            StringComparer.Ordinal),
        new SortedDictionary<string, double>(
            element.GetProperty("metrics").EnumerateObject().ToDictionary(
                metric => metric.Name,
                metric => metric.Value.ValueKind == JsonValueKind.String ? double.Parse(metric.Value.GetString()!, CultureInfo.InvariantCulture)
                    : metric.Value.GetDouble()),
            StringComparer.Ordinal))
    {
        Calibration = element.TryGetProperty("calibration", out var calibration) ? calibration.GetString() : null,
    };

    /// <summary>Names each distinct scheme, numbered by its first layer.</summary>
    private static List<ManifestLayer> NameSchemes(IEnumerable<ManifestLayer> layers)
    {
        var named = new Dictionary<(RecipeRule, bool), RecipeRule>();
        var result = new List<ManifestLayer>();
        foreach (var layer in layers)
        {
            var key = (layer.Scheme with { Pattern = string.Empty }, layer.HasGroupIndex);
            if (!named.TryGetValue(key, out var scheme))
            {
                scheme = layer.Scheme with { Pattern = string.Create(CultureInfo.InvariantCulture, $"group_{named.Count}") };
                named.Add(key, scheme);
            }

            result.Add(layer with { Scheme = scheme });
        }

        return result;
    }

    private static string Text(JsonElement element, string key) => element.GetProperty(key).GetString() ?? throw new FormatException($"{key} is null");
}
