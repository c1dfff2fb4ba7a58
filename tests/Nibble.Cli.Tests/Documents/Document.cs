using System.Text.RegularExpressions;

namespace Nibble.Cli.Tests.Documents;

/// <summary>A Markdown file of the repository.</summary>
internal sealed partial record Document(string Path, string Text)
{
    public static string Root { get; } = FindRoot();

    /// <summary>The documents that people read first; all are held against the program.</summary>
    public static IEnumerable<string> Names =>
        Directory.EnumerateFiles(Root, "*.md").Concat(Directory.EnumerateFiles(System.IO.Path.Combine(Root, "docs"), "*.md"))
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

    /// <summary>The targets of links that are not addresses.</summary>
    public IEnumerable<string> RelativeLinks() =>
        Links().Matches(Text).Select(match => match.Groups["target"].Value).Where(target => !target.Contains("://", StringComparison.Ordinal));

    private static string FindRoot()
    {
        var folder = new DirectoryInfo(AppContext.BaseDirectory);
        while (!File.Exists(System.IO.Path.Combine(folder.FullName, "Nibble.slnx")))
        {
            folder = folder.Parent ?? throw new InvalidOperationException($"No Nibble.slnx above {AppContext.BaseDirectory}.");
        }

        return folder.FullName;
    }

    [GeneratedRegex(@"\]\((?<target>[^)#\s]+)(#[^)]*)?\)", RegexOptions.ExplicitCapture)]
    private static partial Regex Links();
}
