using System.Text.Json;

namespace Nibble.Tests.Shared;

/// <summary>A small generated task: which of four sentences follows in a story. The three others are from other stories.</summary>
internal static class StoryQuestions
{
    private const string Separator = "<|endoftext|>";

    /// <summary>Makes JSON lines with a context, choices and the number of the answer.</summary>
    /// <param name="path">A text with a line &lt;|endoftext|&gt; between stories.</param>
    /// <param name="count">The number of questions.</param>
    public static string Of(string path, int count)
    {
        var stories = File.ReadAllText(path).Split(Separator)
            .Select(story => story.ReplaceLineEndings(" ").Trim().Split(". ", StringSplitOptions.RemoveEmptyEntries))
            .Where(sentences => sentences.Length >= 8).ToList();
        return string.Join('\n', Enumerable.Range(0, count).Select(i =>
        {
            var story = stories[i % stories.Count];
            var answer = i * 7 % 4;
            string[] choices = [.. Enumerable.Range(0, 4).Select(k => k == answer ? story[4] + "." : stories[(i + 11 + (13 * k)) % stories.Count][5] + ".")];
            return JsonSerializer.Serialize(new { context = string.Join(". ", story[..4]) + ".", choices, answer });
        }));
    }
}
