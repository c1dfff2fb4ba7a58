using System.Text.RegularExpressions;
using Nibble.Tests.Shared;

namespace Nibble.Cli.Tests.Documents;

/// <summary>A Markdown file of the repository.</summary>
internal sealed partial record Document(string Path, string Text)
{
    private static readonly string[] Folders = ["docs", "samples", "benchmarks/results"];

    public static string Root { get; } = Repository.At();

    /// <summary>The documents that people read first; all are held against the program.</summary>
    public static IEnumerable<string> Names =>
        Directory.EnumerateFiles(Root, "*.md")
            .Concat(Folders.SelectMany(folder => Directory.EnumerateFiles(System.IO.Path.Combine(Root, folder), "*.md", SearchOption.AllDirectories)))
            .Select(path => System.IO.Path.GetRelativePath(Root, path).Replace('\\', '/'));

    public static Document Read(string name)
    {
        var path = System.IO.Path.Combine(Root, name);
        return new Document(path, File.ReadAllText(path).ReplaceLineEndings("\n"));
    }

    /// <summary>Lines of code that stand alone, in fences or indented by four blanks.</summary>
    public IEnumerable<string> CodeLines()
    {
        var fenced = false;
        foreach (var line in Text.Split('\n'))
        {
            if (line.StartsWith("```", StringComparison.Ordinal))
            {
                fenced = !fenced;
            }
            else if (fenced || line.StartsWith("    ", StringComparison.Ordinal))
            {
                yield return line.Trim();
            }
        }
    }

    /// <summary>The first fenced block in a language.</summary>
    public string Block(string language) =>
        Regex.Match(Text, $"```{language}\n(?<code>.*?)```", RegexOptions.Singleline | RegexOptions.ExplicitCapture).Groups["code"].Value;

    /// <summary>The rows of every table whose header's first cell is the given one, as their cells.</summary>
    public IEnumerable<string[]> Table(string firstHeader)
    {
        var inside = false;
        foreach (var line in Text.Split('\n'))
        {
            if (!line.StartsWith('|'))
            {
                inside = false;
                continue;
            }

            var cells = line.Trim().Trim('|').Split('|').Select(cell => cell.Trim()).ToArray();
            if (cells[0] == firstHeader)
            {
                inside = true;
            }
            else if (inside && !cells[0].StartsWith("---", StringComparison.Ordinal))
            {
                yield return cells;
            }
        }
    }

    /// <summary>The text between a heading of level 2 and the next one.</summary>
    public string Section(string heading)
    {
        var start = Text.IndexOf($"\n## {heading}\n", StringComparison.Ordinal);
        Assert.True(start >= 0, $"{Path} has no section '{heading}'");
        var end = Text.IndexOf("\n## ", start + 1, StringComparison.Ordinal);
        return end < 0 ? Text[start..] : Text[start..end];
    }

    /// <summary>The items of the list under a heading of level 2, each in one line.</summary>
    public IEnumerable<string> Items(string heading) => Item().Matches(Section(heading))
        .Select(match => string.Join(' ', match.Groups["text"].Value.Split('\n', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries)));

    /// <summary>The lines that are sentences: neither code nor tables nor headings.</summary>
    public IEnumerable<string> Prose()
    {
        var fenced = false;
        foreach (var line in Text.Split('\n'))
        {
            if (line.StartsWith("```", StringComparison.Ordinal))
            {
                fenced = !fenced;
            }
            else if (!fenced && !line.StartsWith("    ", StringComparison.Ordinal) && !line.StartsWith('|') && !line.StartsWith('#'))
            {
                yield return line;
            }
        }
    }

    /// <summary>Links that are not addresses: to a file (none for this one), and to a heading in it.</summary>
    public IEnumerable<(string Path, string? Heading)> RelativeLinks() => Links().Matches(Text).Select(match => match.Groups["target"].Value)
        .Where(target => !target.Contains("://", StringComparison.Ordinal))
        .Select(target => target.Split('#'))
        .Select(parts => (parts[0], parts.Length > 1 ? parts[1] : null));

    /// <summary>What links call the headings, as GitHub does: small letters, figures and hyphens.</summary>
    public IEnumerable<string> Anchors() => Text.Split('\n').Where(line => line.StartsWith('#'))
        .Select(line => NotInAnchor().Replace(line.TrimStart('#').Trim().ToLowerInvariant(), string.Empty).Replace(' ', '-'));

    [GeneratedRegex(@"\]\((?<target>[^)\s]+)\)", RegexOptions.ExplicitCapture)]
    private static partial Regex Links();

    [GeneratedRegex(@"[^\w\- ]")]
    private static partial Regex NotInAnchor();

    [GeneratedRegex(@"^- (?<text>.*(\n  .*)*)", RegexOptions.Multiline | RegexOptions.ExplicitCapture)]
    private static partial Regex Item();
}
