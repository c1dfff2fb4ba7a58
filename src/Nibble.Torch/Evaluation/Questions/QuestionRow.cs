using System.Text.Json;
using Nibble.Recipes;

namespace Nibble.Torch.Evaluation.Questions;

/// <summary>The fields of a line, or of an object in it. Messages name the place, the field and what is expected.</summary>
/// <param name="item">The object.</param>
/// <param name="place">The file and line.</param>
/// <param name="layout">The name of the layout, for messages.</param>
/// <param name="path">The fields that lead to the object, with a dot after each.</param>
internal sealed class QuestionRow(JsonElement item, string place, string layout, string path = "")
{
    /// <summary>The file and line.</summary>
    public string Place => place;

    /// <summary>Whether a field is present and not null.</summary>
    public bool Has(string field) => Find(field) is not null;

    /// <summary>Whether a field holds an object.</summary>
    public bool HasObject(string field) => Find(field) is { ValueKind: JsonValueKind.Object };

    /// <summary>The text in a field.</summary>
    /// <exception cref="NibbleException">The field is missing or holds something else.</exception>
    public string Text(string field) => TextOf(Require(field), field);

    /// <summary>The text in a field. Null if the field is missing.</summary>
    /// <exception cref="NibbleException">The field holds something else.</exception>
    public string? TextOrNull(string field) => Find(field) is { } value ? TextOf(value, field) : null;

    /// <summary>The texts in a field.</summary>
    /// <param name="field">The field.</param>
    /// <param name="least">The smallest number of texts.</param>
    /// <param name="most">The largest number of texts.</param>
    /// <exception cref="NibbleException">The field is missing, or holds something else or another number of texts.</exception>
    public IReadOnlyList<string> Texts(string field, int least = 1, int most = int.MaxValue) =>
        [.. Items(field, least, most).Select((value, i) => TextOf(value, $"{field}[{i}]"))];

    /// <summary>The objects in a field.</summary>
    /// <exception cref="NibbleException">The field is missing or holds something else.</exception>
    public IReadOnlyList<QuestionRow> Objects(string field) => [.. Items(field, 1, int.MaxValue).Select((value, i) => ObjectOf(value, $"{field}[{i}]"))];

    /// <summary>The object in a field.</summary>
    /// <exception cref="NibbleException">The field is missing or holds something else.</exception>
    public QuestionRow Object(string field) => ObjectOf(Require(field), field);

    /// <summary>The number of one of several answers, from a number or from digits in a text.</summary>
    /// <param name="field">The field.</param>
    /// <param name="first">The number of the first answer, 0 or 1.</param>
    /// <param name="count">The number of answers.</param>
    /// <returns>The index, from 0.</returns>
    /// <exception cref="NibbleException">The field is missing or holds something else. Data sets often hide the answers of their test part.</exception>
    public int Index(string field, int first, int count)
    {
        var value = Require(field);
        var found = value.ValueKind == JsonValueKind.String ? NumberText.TryParse(TextOf(value, field), out long digits) ? digits : (long?)null
            : value.ValueKind == JsonValueKind.Number && value.TryGetInt64(out var number) ? number : null;
        return found >= first && found < first + (long)count
            ? (int)(found.Value - first)
            : throw Wrong(field, Shown(value), $"the number of the correct answer, {first} to {first + count - 1}; lines without an answer cannot be scored");
    }

    /// <summary>The index of one of some labels.</summary>
    /// <exception cref="NibbleException">The field is missing or holds something else.</exception>
    public int IndexOf(string field, IReadOnlyList<string> labels)
    {
        var text = Text(field);
        var index = labels.ToList().IndexOf(text);
        return index >= 0 ? index
            : throw Wrong(field, Shown(Require(field)), $"one of {Shown(string.Join(", ", labels))}; lines without an answer cannot be scored");
    }

    /// <summary>Whether a field holds text that is not a whole number.</summary>
    public bool HasLetters(string field) => Find(field) is { ValueKind: JsonValueKind.String } value && !NumberText.TryParse(TextOf(value, field), out long _);

    /// <summary>The error that a field is wrong.</summary>
    public NibbleException Wrong(string field, string found, string expected) =>
        new($"{place}: '{path}{field}' is {found}, expected {expected} ({layout} layout)");

    private JsonElement? Find(string field) =>
        item.TryGetProperty(field, out var value) && value.ValueKind != JsonValueKind.Null ? value : null;

    private JsonElement Require(string field) =>
        Find(field) ?? throw new NibbleException($"{place} has no '{path}{field}', which the {layout} layout needs");

    private List<JsonElement> Items(string field, int least, int most)
    {
        var value = Require(field);
        if (value.ValueKind != JsonValueKind.Array)
        {
            throw Wrong(field, Shown(value), "a list");
        }

        var count = value.GetArrayLength();
        var expected = most == int.MaxValue ? $"{least} or more" : least == most ? $"{least}" : $"{least} to {most}";
        return count >= least && count <= most ? [.. value.EnumerateArray()] : throw Wrong(field, $"a list of {count}", $"a list of {expected}");
    }

    private QuestionRow ObjectOf(JsonElement value, string field) => value.ValueKind == JsonValueKind.Object
        ? new QuestionRow(value, place, layout, $"{path}{field}.")
        : throw Wrong(field, Shown(value), "an object");

    private string TextOf(JsonElement value, string field) =>
        value.ValueKind == JsonValueKind.String ? value.GetString()! : throw Wrong(field, Shown(value), "text");

    private static string Shown(JsonElement value) => value.ValueKind switch
    {
        JsonValueKind.Array => "a list",
        JsonValueKind.Object => "an object",
        _ => Shown(value.GetRawText()),
    };

    private static string Shown(string text)
    {
        const int most = 40;
        return text.Length <= most ? text : $"{text[..most]}...";
    }
}
