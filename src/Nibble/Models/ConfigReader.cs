using System.Globalization;
using System.Text.Json;

namespace Nibble.Models;

/// <summary>Reads the properties of a <c>config.json</c>, or of an object inside it, and rejects values of the wrong kind.</summary>
internal readonly struct ConfigReader
{
    private readonly JsonElement root;
    private readonly HashSet<string> read = new(StringComparer.Ordinal);

    private ConfigReader(JsonElement root, string source)
    {
        this.root = root;
        Source = source;
    }

    /// <summary>The origin of the object, for messages.</summary>
    public string Source { get; }

    /// <summary>The properties that have not been read and that are not null.</summary>
    public IEnumerable<(string Name, JsonElement Value)> Unread
    {
        get
        {
            var known = read;
            return root.EnumerateObject().Where(property => !known.Contains(property.Name) && property.Value.ValueKind != JsonValueKind.Null)
                .Select(property => (property.Name, property.Value));
        }
    }

    /// <summary>Reads text that must be a JSON object.</summary>
    /// <exception cref="NibbleException">The text is not a JSON object, or <paramref name="read"/> rejects it.</exception>
    public static T Parse<T>(string json, string source, Func<ConfigReader, T> read)
    {
        try
        {
            using var document = JsonDocument.Parse(json);
            return document.RootElement.ValueKind == JsonValueKind.Object
                ? read(new ConfigReader(document.RootElement, source))
                : throw new NibbleException($"{source}: found {document.RootElement.ValueKind}, expected an object");
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException)
        {
            // Strings with an unpaired surrogate fail only when they are read.
            throw new NibbleException($"{source}: not valid JSON ({e.Message})", e);
        }
    }

    /// <summary>A property; null if it is absent or null.</summary>
    public JsonElement? Get(string name)
    {
        read.Add(name);
        return root.TryGetProperty(name, out var value) && value.ValueKind != JsonValueKind.Null ? value : null;
    }

    /// <summary>Whether a property exists, even if it is null.</summary>
    public bool Has(string name) => root.TryGetProperty(name, out _);

    public ConfigReader? Object(string name) => Get(name) is { } value
        ? value.ValueKind == JsonValueKind.Object ? new ConfigReader(value, $"{Source}: {name}") : throw Wrong(name, value, "an object")
        : null;

    public string Text(string name, string absent) => Get(name) is { } value
        ? value.ValueKind == JsonValueKind.String ? value.GetString()! : throw Wrong(name, value, "a string")
        : absent;

    /// <summary>The strings of a list; null if it is absent.</summary>
    public IReadOnlyList<string>? Texts(string name)
    {
        if (Get(name) is not { } value)
        {
            return null;
        }

        return value.ValueKind == JsonValueKind.Array && value.EnumerateArray().All(item => item.ValueKind == JsonValueKind.String)
            ? [.. value.EnumerateArray().Select(item => item.GetString()!)]
            : throw Wrong(name, value, "a list of strings");
    }

    /// <summary>The finite numbers of a list; null if it is absent.</summary>
    public IReadOnlyList<double>? Numbers(string name)
    {
        if (Get(name) is not { } value)
        {
            return null;
        }

        return value.ValueKind == JsonValueKind.Array
            && value.EnumerateArray().All(item => item.ValueKind == JsonValueKind.Number && double.IsFinite(item.GetDouble()))
            ? [.. value.EnumerateArray().Select(item => item.GetDouble())]
            : throw Wrong(name, value, "a list of numbers");
    }

    public bool Flag(string name, bool absent) => Get(name) is { } value
        ? value.ValueKind is JsonValueKind.True or JsonValueKind.False ? value.GetBoolean() : throw Wrong(name, value, "true or false")
        : absent;

    /// <summary>A finite number. JSON numbers such as 1e999 are not finite.</summary>
    public double Number(string name, double? absent = null) => Get(name) is { } value
        ? value.ValueKind == JsonValueKind.Number && value.GetDouble() is var number && double.IsFinite(number) ? number : throw Wrong(name, value, "a number")
        : absent ?? throw new NibbleException($"{Source}: '{name}' is missing, expected a number");

    /// <summary>A number above 0 and at most a limit.</summary>
    public double PositiveNumber(string name, double? absent = null, double most = double.MaxValue)
    {
        var number = Number(name, absent);
        return number > 0 && number <= most
            ? number
            : throw Wrong(name, Get(name)!.Value, most == double.MaxValue ? "a number above 0"
                : string.Create(CultureInfo.InvariantCulture, $"a number above 0 and at most {most}"));
    }

    public int Positive(string name, int absent = 0)
    {
        if (Get(name) is not { } value)
        {
            return absent > 0 ? absent : throw new NibbleException($"{Source}: '{name}' is missing, expected a positive integer");
        }

        return value.ValueKind == JsonValueKind.Number && value.TryGetInt32(out var number) && number is > 0 and <= 1 << 24
            ? number
            : throw Wrong(name, value, "a positive integer of at most 2^24");
    }

    public NibbleException Wrong(string name, JsonElement found, string expected) =>
        new($"{Source}: '{name}' is {Shortened(found)}, expected {expected}");

    /// <summary>A value as it is in the file, shortened if it is long.</summary>
    private static string Shortened(JsonElement value) => value.GetRawText() is { Length: > 200 } text ? text[..200] + "..." : value.GetRawText();
}
