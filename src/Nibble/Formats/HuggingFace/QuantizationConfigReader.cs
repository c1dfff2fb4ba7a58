using System.Text.Json;

namespace Nibble.Formats.HuggingFace;

/// <summary>Reads the values of a configuration that says how weights are quantized.</summary>
/// <param name="path">The file, for messages.</param>
/// <param name="config">A JSON object.</param>
internal sealed class QuantizationConfigReader(string path, JsonElement config)
{
    /// <summary>A whole number.</summary>
    /// <exception cref="NibbleException">It is missing, or not accepted.</exception>
    public int WholeNumber(string name, Predicate<int> accepts, string expected) =>
        Value(name) is { ValueKind: JsonValueKind.Number } value && value.TryGetInt32(out var number) && accepts(number) ? number
            : throw Fault(name, $"is {Found(name)}, expected {expected}");

    /// <summary>True or false.</summary>
    /// <exception cref="NibbleException">It is missing, or neither.</exception>
    public bool Flag(string name) => Value(name)?.ValueKind switch
    {
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

    /// <summary>The names in an object; none where it is missing.</summary>
    /// <exception cref="NibbleException">It is no object.</exception>
    public IReadOnlyList<string> Names(string name) => Value(name) switch
    {
        null or { ValueKind: JsonValueKind.Null } => [],
        { ValueKind: JsonValueKind.Object } value => [.. value.EnumerateObject().Select(property => property.Name)],
        _ => throw Fault(name, $"is {Found(name)}, expected an object"),
    };

    /// <summary>A fault in a value.</summary>
    public NibbleException Fault(string name, string message) => new($"{path}: {name} {message}.");

    private JsonElement? Value(string name) => config.TryGetProperty(name, out var value) ? value : null;

    private string Found(string name) => Value(name) is { } value ? value.GetRawText() : "missing";
}
