using System.Text;
using System.Text.RegularExpressions;

namespace Nibble.Samples.Storyteller;

/// <summary>Text files of stories, each story followed by a line <see cref="Separator"/>.</summary>
internal static partial class Stories
{
    /// <summary>The line between two stories.</summary>
    public const string Separator = "<|endoftext|>";

    /// <summary>What stands between two stories in the text that the model sees. No story holds a blank line, so this ends a story.</summary>
    public const string End = "\n\n";

    /// <summary>Reads the stories of files, in order.</summary>
    /// <exception cref="NibbleException">A file is missing, is not UTF-8 text or holds no story.</exception>
    public static List<string> Read(IEnumerable<FileInfo> files)
    {
        var stories = new List<string>();
        foreach (var file in files)
        {
            var before = stories.Count;
            stories.AddRange(Split(ReadText(file)));
            if (stories.Count == before)
            {
                throw new NibbleException($"{file.FullName}: the file holds no story. Give a text file of stories with a line {Separator} between them");
            }
        }

        return stories;
    }

    /// <summary>The stories of a text. Blank lines inside a story become line ends, and so do blanks at the end of a line.</summary>
    public static IEnumerable<string> Split(string text) => text.ReplaceLineEndings("\n")
        .Split(Separator, StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries)
        .Select(story => LineEnds().Replace(story, "\n"));

    /// <summary>The text of a file of stories.</summary>
    public static string Join(IEnumerable<string> stories) => string.Concat(stories.Select(story => $"{story}\n{Separator}\n"));

    private static string ReadText(FileInfo file)
    {
        if (!file.Exists)
        {
            throw new NibbleException($"{file.FullName}: no such text file");
        }

        try
        {
            return File.ReadAllText(file.FullName, new UTF8Encoding(encoderShouldEmitUTF8Identifier: false, throwOnInvalidBytes: true));
        }
        catch (DecoderFallbackException)
        {
            throw new NibbleException($"{file.FullName}: the file is not UTF-8 text. Convert it");
        }
    }

    [GeneratedRegex(@"[ \t]*\n\s*")]
    private static partial Regex LineEnds();
}
