using System.Text.Json;

namespace Nibble.Formats.HuggingFace;

/// <summary>Reads the values of a configuration that describes how weights are quantized.</summary>
/// <param name="path">The file, for messages.</param>
/// <param name="config">A JSON object.</param>
/// <param name="method">The method that produced the weights, if the configuration does not name it.</param>
internal sealed class QuantizationConfigReader(string path, JsonElement config, string? method = null)
{
    /// <summary>The method of <see cref="CompressedTensors.QuantizedModelFile"/> and of llm-compressor.</summary>
    public const string CompressedTensors = "compressed-tensors";

    /// <summary>The method of GPTQModel and AutoGPTQ checkpoints.</summary>
    public const string Gptq = "gptq";

    /// <summary>The method of AutoAWQ checkpoints.</summary>
    public const string Awq = "awq";

    private const string MlxKey = "quantization";

    /// <summary>The file that AutoAWQ wrote until the end of 2023.</summary>
    private const string AwqFileName = "quant_config.json";

    // The first key is the common one, the second an early one of llm-compressor, the third MLX's.
    private static readonly string[] Keys = [Checkpoint.QuantizationKey, "compression_config", MlxKey];

    // AutoGPTQ and GPTQModel write the first file next to config.json. Early versions wrote nothing into config.json.
    private static readonly string[] OwnFiles = ["quantize_config.json", AwqFileName];

    /// <summary>The file that contains the configuration.</summary>
    public string Path => path;

    /// <summary>Finds a folder's quantization configuration, in <c>config.json</c> or in a file next to it.</summary>
    /// <returns>The configuration; null if the weights are not declared as quantized.</returns>
    /// <exception cref="NibbleException">A file is missing or is not a JSON object.</exception>
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

    /// <summary>A model's configuration without its quantization configuration.</summary>
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
    /// The method that produced the weights, in lower case: as the configuration names it, or as its other values imply. Early versions of the tools did
    /// not name it.
    /// </summary>
    public string Method() => (Text("quant_method") ?? Text("method") ?? method)?.ToLowerInvariant()
        ?? (Has("config_groups") ? CompressedTensors : Has("w_bit") || System.IO.Path.GetFileName(path) == AwqFileName ? Awq : Gptq);

    /// <summary>Whether a value exists and is not null.</summary>
    public bool Has(string name) => Value(name) is { ValueKind: not JsonValueKind.Null };

    /// <summary>The first name that has a value, or the first name if none has.</summary>
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

    /// <summary>Reads a whole number.</summary>
    /// <exception cref="NibbleException">The value is missing or not accepted.</exception>
    public int WholeNumber(string name, Predicate<int> accepts, string expected) =>
        Value(name) is { ValueKind: JsonValueKind.Number } value && value.TryGetInt32(out var number) && accepts(number) ? number
            : throw Fault(name, $"is {Found(name)}, expected {expected}");

    /// <summary>Reads a Boolean; null if it is missing.</summary>
    /// <exception cref="NibbleException">The value is not a Boolean.</exception>
    public bool? Flag(string name) => Value(name)?.ValueKind switch
    {
        null or JsonValueKind.Null => null,
        JsonValueKind.True => true,
        JsonValueKind.False => false,
        _ => throw Fault(name, $"is {Found(name)}, expected true or false"),
    };

    /// <summary>Reads a string; null if it is missing.</summary>
    /// <exception cref="NibbleException">The value is not a string.</exception>
    public string? Text(string name) => Value(name) switch
    {
        null or { ValueKind: JsonValueKind.Null } => null,
        { ValueKind: JsonValueKind.String } value => value.GetString(),
        _ => throw Fault(name, $"is {Found(name)}, expected a string"),
    };

    /// <summary>Reads a list of strings; empty if it is missing.</summary>
    /// <exception cref="NibbleException">The value is not a list of strings.</exception>
    public IReadOnlyList<string> Texts(string name) => Value(name) switch
    {
        null or { ValueKind: JsonValueKind.Null } => [],
        { ValueKind: JsonValueKind.Array } value when value.EnumerateArray().All(item => item.ValueKind == JsonValueKind.String) =>
            [.. value.EnumerateArray().Select(item => item.GetString()!)],
        _ => throw Fault(name, $"is {Found(name)}, expected a list of strings"),
    };

    /// <summary>Reads a nested object; null if it is missing or empty.</summary>
    /// <exception cref="NibbleException">The value is not an object.</exception>
    public QuantizationConfigReader? Object(string name) => Value(name) switch
    {
        null or { ValueKind: JsonValueKind.Null } => null,
        { ValueKind: JsonValueKind.Object } value => value.EnumerateObject().Any() ? new QuantizationConfigReader($"{path}: {name}", value) : null,
        _ => throw Fault(name, $"is {Found(name)}, expected an object"),
    };

    /// <summary>Reads the objects in a nested object, by name; empty if it is missing.</summary>
    /// <exception cref="NibbleException">The value is not an object, or one of its values is not.</exception>
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

    /// <summary>A value as written in the file.</summary>
    public string Found(string name) => Value(name) is { } value ? value.GetRawText() : "missing";

    /// <summary>Creates an exception about a value.</summary>
    public NibbleException Fault(string name, string message) => new($"{path}: {name} {message}.");

    private JsonElement? Value(string name) => config.TryGetProperty(name, out var value) ? value : null;
}
