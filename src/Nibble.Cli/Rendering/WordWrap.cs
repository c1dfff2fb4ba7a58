namespace Nibble.Cli.Rendering;

/// <summary>Breaks lines between words, so that a terminal does not break words.</summary>
internal static class WordWrap
{
    private const int Indentation = 2;

    /// <summary>Breaks each line that is too long. Continuation lines are indented a little more.</summary>
    /// <param name="text">One line or several.</param>
    /// <param name="width">The most characters per line. A longer word gets its own line.</param>
    public static string Break(string text, int width) =>
        text.Length <= width ? text : string.Join('\n', text.Split('\n').SelectMany(line => BreakLine(line, width)));

    /// <summary>Joins pieces into lines, separated by commas. Only a piece longer than a line is broken.</summary>
    /// <param name="pieces">The pieces.</param>
    /// <param name="width">The most characters per line.</param>
    public static string Flow(IEnumerable<string> pieces, int width)
    {
        var margin = new string(' ', Indentation);
        var lines = new List<string>();
        foreach (var piece in pieces)
        {
            if (lines.Count > 0 && lines[^1].Length + piece.Length + 2 < width)
            {
                lines[^1] += ", " + piece;
            }
            else
            {
                lines.Add(margin + piece);
            }
        }

        return Break(string.Join(",\n", lines), width);
    }

    private static List<string> BreakLine(string line, int width)
    {
        var margin = line.Length - line.TrimStart(' ').Length;
        var lines = new List<string>();
        while (line.Length > width && FindBreak(line.AsSpan().TrimEnd(' '), margin, width) is > 0 and var place)
        {
            lines.Add(line[..place].TrimEnd(' '));
            margin += lines.Count == 1 ? Indentation : 0;
            line = new string(' ', margin) + line[place..].TrimStart(' ');
        }

        lines.Add(line);
        return lines;
    }

    /// <summary>The last space after the margin that makes the line fit, or else the first space; 0 if there is none.</summary>
    private static int FindBreak(ReadOnlySpan<char> line, int margin, int width)
    {
        var words = line[Math.Min(margin, line.Length)..];
        var fits = words[..Math.Clamp(width + 1 - margin, 0, words.Length)].LastIndexOf(' ');
        var place = fits > 0 ? fits : words.IndexOf(' ');
        return place > 0 ? margin + place : 0;
    }
}
