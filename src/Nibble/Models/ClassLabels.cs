using System.Globalization;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace Nibble.Models;

/// <summary>The classes of a model, by number and name.</summary>
/// <param name="Names">The name of each class, starting with class 0.</param>
internal sealed record ClassLabels(IReadOnlyList<string> Names)
{
    private const string Key = "id2label";
    private const int Shown = 8;

    /// <summary>The classes of a <c>config.json</c>; two without names if it has none.</summary>
    /// <param name="configJson">The text of a configuration that its family has accepted.</param>
    public static ClassLabels Of(string configJson)
    {
        using var config = JsonDocument.Parse(configJson);
        if (config.RootElement.TryGetProperty(Key, out var names) && names.ValueKind == JsonValueKind.Object)
        {
            return new ClassLabels([
                .. names.EnumerateObject().OrderBy(name => int.TryParse(name.Name, NumberStyles.None, CultureInfo.InvariantCulture, out var id)
                ? id : int.MaxValue).Select(name => name.Value.ToString())]);
        }

        var count = config.RootElement.TryGetProperty("num_labels", out var number) && number.TryGetInt32(out var labels) ? labels : 2;
        return new ClassLabels([.. Enumerable.Range(0, count).Select(id => string.Create(CultureInfo.InvariantCulture, $"LABEL_{id}"))]);
    }

    /// <summary>The classes that the labels of data name: numbers in order from 0, or names in alphabetical order.</summary>
    /// <param name="labels">The labels of all texts.</param>
    public static ClassLabels OfData(IEnumerable<string> labels)
    {
        var found = labels.ToHashSet(StringComparer.Ordinal);
        var numbers = found.Select(label => int.TryParse(label, NumberStyles.None, CultureInfo.InvariantCulture, out var id) ? id : -1).ToHashSet();
        return new ClassLabels(!numbers.Contains(-1) && numbers.Max() < 2 * found.Count && numbers.Max() > 0
            ? [.. Enumerable.Range(0, numbers.Max() + 1).Select(id => id.ToString(CultureInfo.InvariantCulture))]
            : [.. found.Order(StringComparer.Ordinal)]);
    }

    /// <summary>The text of a <c>config.json</c> with these classes.</summary>
    public string AddTo(string configJson)
    {
        var config = JsonNode.Parse(configJson)!.AsObject();
        config[Key] = new JsonObject(Names.Select((name, id) => KeyValuePair.Create(id.ToString(CultureInfo.InvariantCulture), (JsonNode?)name)));
        config["label2id"] = new JsonObject(Names.Select((name, id) => KeyValuePair.Create(name, (JsonNode?)id)));
        config.Remove("num_labels");
        return config.ToJsonString();
    }

    /// <summary>Whether a label names a class.</summary>
    public bool Knows(string label) => Find(label) is not null;

    private int? Find(string label)
    {
        for (var id = 0; id < Names.Count; id++)
        {
            if (string.Equals(Names[id], label, StringComparison.OrdinalIgnoreCase))
            {
                return id;
            }
        }

        return int.TryParse(label, NumberStyles.None, CultureInfo.InvariantCulture, out var number) && number < Names.Count ? number : null;
    }

    /// <summary>The number of a class, from a label that is its name or its number.</summary>
    /// <param name="label">The label.</param>
    /// <param name="place">The label's position, for messages.</param>
    /// <exception cref="NibbleException">There is no such class.</exception>
    public float Parse(string label, string place) => Find(label) is { } id
            ? id
            : throw new NibbleException($"{place} ends in '{label}', expected a class of the model: 0 to {Names.Count - 1}, or "
                + $"{string.Join(", ", Names.Take(Shown))}{(Names.Count > Shown ? ", ..." : string.Empty)}");
}
