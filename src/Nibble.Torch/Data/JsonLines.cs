using System.Text.Json;

namespace Nibble.Torch.Data;

/// <summary>Data as JSON lines (JSONL): one object per line, as datasets on Hugging Face are often distributed.</summary>
internal static class JsonLines
{
    /// <summary>Names of the first text of an object, and of the second.</summary>
    private static readonly (string First, string? Second)[] Texts = [("sentence1", "sentence2"), ("text", "text_pair"), ("sentence", null)];

    private static readonly string[] Answers = ["label", "score"];

    /// <summary>Whether text is JSON lines: its first line that is not blank is a JSON object.</summary>
    public static bool IsIn(string text)
    {
        var line = text.AsSpan().TrimStart();
        if (line.IsEmpty || line[0] != '{')
        {
            return false;
        }

        var end = line.IndexOfAny('\r', '\n');
        try
        {
            using var parsed = JsonDocument.Parse((end < 0 ? line : line[..end]).ToString());
            return parsed.RootElement.ValueKind == JsonValueKind.Object;
        }
        catch (JsonException)
        {
            return false;
        }
    }

    /// <summary>The cells of each line: its texts, and its label or score if it has one.</summary>
    /// <param name="text">The text.</param>
    /// <param name="path">The name of the file, for messages.</param>
    /// <exception cref="NibbleException">A line is not an object, or has no text.</exception>
    public static IEnumerable<(string[] Cells, bool HasAnswer, string Place)> Read(string text, string path)
    {
        using var reader = new StringReader(text);
        for (var number = 1; reader.ReadLine() is { } line; number++)
        {
            if (!string.IsNullOrWhiteSpace(line))
            {
                var place = $"{path}: line {number}";
                var (texts, answer) = Parse(line, place);
                yield return (answer is null ? texts : [.. texts, answer], answer is not null, place);
            }
        }
    }

    private static (string[] Texts, string? Answer) Parse(string line, string place)
    {
        try
        {
            using var document = JsonDocument.Parse(line);
            var item = document.RootElement;
            var names = Texts.FirstOrDefault(names => item.ValueKind == JsonValueKind.Object && item.TryGetProperty(names.First, out _));
            if (names.First is null)
            {
                throw new NibbleException($"{place} is not an object with text in 'text', 'sentence', or 'sentence1' and 'sentence2'");
            }

            var answer = Answers.FirstOrDefault(name => item.TryGetProperty(name, out _));
            var second = names.Second is { } pair && item.TryGetProperty(pair, out var other) && other.ValueKind != JsonValueKind.Null ? TextOf(other) : null;
            var first = TextOf(item.GetProperty(names.First));
            return (second is null ? [first] : [first, second], answer is null ? null : TextOf(item.GetProperty(answer)));
        }
        catch (JsonException exception)
        {
            throw new NibbleException($"{place} is not JSON, but the first line is: {exception.Message}", exception);
        }

        string TextOf(JsonElement value) => value.ValueKind switch
        {
            JsonValueKind.String => value.GetString()!,
            JsonValueKind.Number => value.GetRawText(),
            var kind => throw new NibbleException($"{place} has {kind.ToString().ToLowerInvariant()} where text, a label or a score is expected"),
        };
    }
}
