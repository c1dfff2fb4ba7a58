using System.Text.Json;

namespace Nibble.Formats.HuggingFace;

/// <summary>Reads the values of a configuration that says how weights are quantized.</summary>
/// <param name="path">The file, for messages.</param>
/// <param name="config">A JSON object.</param>
/// <param name="method">What made the weights, where the configuration does not say it itself.</param>
internal sealed class QuantizationConfigReader(string path, JsonElement config, string? method = null)
{
    /// <summary>The method of <see cref="CompressedTensors.QuantizedModelFile"/>'s own layout, and of llm-compressor's.</summary>
    public const string CompressedTensors = "compressed-tensors";

    /// <summary>The method of GPTQModel's and AutoGPTQ's checkpoints.</summary>
    public const string Gptq = "gptq";

    /// <summary>The method of AutoAWQ's checkpoints.</summary>
    public const string Awq = "awq";

    private const string MlxKey = "quantization";

    /// <summary>What AutoAWQ wrote until the end of 2023.</summary>
    private const string AwqFileName = "quant_config.json";

    // The first key is everybody's, the second what llm-compressor wrote at first, the third MLX's.
    private static readonly string[] Keys = [Checkpoint.QuantizationKey, "compression_config", MlxKey];

    // AutoGPTQ and GPTQModel write the first beside config.json, and at first did not write anything into that.
    private static readonly string[] OwnFiles = ["quantize_config.json", AwqFileName];

    /// <summary>The file that the configuration stands in.</summary>
    public string Path => path;

    /// <summary>Finds what a folder says of how its weights are quantized: in <c>config.json</c>, or in a file beside it.</summary>
    /// <returns>Null where nothing says that they are.</returns>
    /// <exception cref="NibbleException">A file is missing or no JSON object.</exception>
    public static QuantizationConfigReader? Find(string folder)
    {
        var path = System.IO.Path.Combine(folder, Checkpoint.ConfigName);
        using (var model = JsonFile.ReadObject(path))
        {
            foreach (var key in Keys)
            {
                if (model.RootElement.TryGetProperty(key, out var value) && value.ValueKind == JsonValueKind.Object && value.EnumerateObject().Any())
                {
                    return new QuantizationConfigReader(path, value.Clone(), key == MlxKey ? "mlx" : null);
                }
            }
        }

        if (OwnFiles.Select(name => System.IO.Path.Combine(folder, name)).FirstOrDefault(File.Exists) is not { } own)
        {
            return null;
        }

        using var document = JsonFile.ReadObject(own);
        return new QuantizationConfigReader(own, document.RootElement.Clone());
    }

    /// <summary>A model's configuration without what it says of how its weights are quantized.</summary>
    /// <param name="configJson">The text of a <c>config.json</c>.</param>
    public static string Remove(string configJson)
    {
        using var config = JsonDocument.Parse(configJson);
        if (!Keys.Any(key => config.RootElement.TryGetProperty(key, out _)))
        {
            return configJson;
        }

        using var stream = new MemoryStream();
        using (var writer = new Utf8JsonWriter(stream, Recipes.RecipeFile.JsonOptions))
        {
            writer.WriteStartObject();
            foreach (var property in config.RootElement.EnumerateObject().Where(property => !Keys.Contains(property.Name)))
            {
                property.WriteTo(writer);
            }

            writer.WriteEndObject();
        }

        return System.Text.Encoding.UTF8.GetString(stream.ToArray());
    }

    /// <summary>
    /// What made the weights, in lower case: as the configuration says, or as its other values imply, since the first versions of the tools did not say.
    /// </summary>
    public string Method() => (Text("quant_method") ?? Text("method") ?? method)?.ToLowerInvariant()
        ?? (Has("config_groups") ? CompressedTensors : Has("w_bit") || System.IO.Path.GetFileName(path) == AwqFileName ? Awq : Gptq);

    /// <summary>Whether there is a value, and it is not null.</summary>
    public bool Has(string name) => Value(name) is { ValueKind: not JsonValueKind.Null };

    /// <summary>The first of some names that has a value; the first of all where none has.</summary>
    public string First(params ReadOnlySpan<string> names)
    {
        foreach (var name in names)
        {
            if (Has(name))
            {
                return name;
            }
        }

        return names[0];
    }

    /// <summary>A whole number.</summary>
    /// <exception cref="NibbleException">It is missing, or not accepted.</exception>
    public int WholeNumber(string name, Predicate<int> accepts, string expected) =>
        Value(name) is { ValueKind: JsonValueKind.Number } value && value.TryGetInt32(out var number) && accepts(number) ? number
            : throw Fault(name, $"is {Found(name)}, expected {expected}");

    /// <summary>True or false; null where it is missing.</summary>
    /// <exception cref="NibbleException">It is neither.</exception>
    public bool? Flag(string name) => Value(name)?.ValueKind switch
    {
        null or JsonValueKind.Null => null,
        JsonValueKind.True => true,
        JsonValueKind.False => false,
        _ => throw Fault(name, $"is {Found(name)}, expected true or false"),
    };

    /// <summary>A text; null where it is missing.</summary>
    /// <exception cref="NibbleException">It is no text.</exception>
    public string? Text(string name) => Value(name) switch
    {
        null or { ValueKind: JsonValueKind.Null } => null,
        { ValueKind: JsonValueKind.String } value => value.GetString(),
        _ => throw Fault(name, $"is {Found(name)}, expected a text"),
    };

    /// <summary>The texts of a list; none where it is missing.</summary>
    /// <exception cref="NibbleException">It is no list of texts.</exception>
    public IReadOnlyList<string> Texts(string name) => Value(name) switch
    {
        null or { ValueKind: JsonValueKind.Null } => [],
        { ValueKind: JsonValueKind.Array } value when value.EnumerateArray().All(item => item.ValueKind == JsonValueKind.String) =>
            [.. value.EnumerateArray().Select(item => item.GetString()!)],
        _ => throw Fault(name, $"is {Found(name)}, expected a list of texts"),
    };

    /// <summary>An object inside; null where it is missing or empty.</summary>
    /// <exception cref="NibbleException">It is no object.</exception>
    public QuantizationConfigReader? Object(string name) => Value(name) switch
    {
        null or { ValueKind: JsonValueKind.Null } => null,
        { ValueKind: JsonValueKind.Object } value => value.EnumerateObject().Any() ? new QuantizationConfigReader($"{path}: {name}", value) : null,
        _ => throw Fault(name, $"is {Found(name)}, expected an object"),
    };

    /// <summary>The objects in an object, by name; none where it is missing.</summary>
    /// <exception cref="NibbleException">It is no object, or one of its values is none.</exception>
    public IReadOnlyList<(string Name, QuantizationConfigReader Value)> Objects(string name)
    {
        if (Object(name) is null)
        {
            return [];
        }

        return
        [
            .. Value(name)!.Value.EnumerateObject().Select(property => property.Value.ValueKind == JsonValueKind.Object
                ? (property.Name, new QuantizationConfigReader($"{path}: {name}, {property.Name}", property.Value))
                : throw Fault(name, $"has {property.Value.GetRawText()} for {property.Name}, expected an object")),
        ];
    }

    /// <summary>A value as it stands in the file.</summary>
    public string Found(string name) => Value(name) is { } value ? value.GetRawText() : "missing";

    /// <summary>A fault in a value.</summary>
    public NibbleException Fault(string name, string message) => new($"{path}: {name} {message}.");

    private JsonElement? Value(string name) => config.TryGetProperty(name, out var value) ? value : null;
}
