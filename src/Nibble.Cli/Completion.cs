using System.CommandLine;
using System.Globalization;
using System.Text.RegularExpressions;

namespace Nibble.Cli;

/// <summary>
/// What a shell offers when a command line is completed: <c>nibble "[suggest:POSITION]" "LINE"</c>, the suggest directive of System.CommandLine,
/// which shells call by a few lines of script or through dotnet-suggest.
/// </summary>
/// <remarks>The parser itself knows directives only of a <see cref="RootCommand"/>.</remarks>
internal static partial class Completion
{
    /// <summary>The completions of a command line, or null if the arguments do not ask for them.</summary>
    /// <param name="root">The command <c>nibble</c>.</param>
    /// <param name="args">The arguments of the program.</param>
    /// <param name="configuration">How to parse.</param>
    public static IReadOnlyList<string>? Of(Command root, string[] args, ParserConfiguration configuration)
    {
        if (args is not [var directive, ..] || Directive().Match(directive) is not { Success: true } match)
        {
            return null;
        }

        var line = string.Join(' ', args[1..]);
        var position = match.Groups["position"] is { Success: true } group ? int.Parse(group.Value, CultureInfo.InvariantCulture) : line.Length;

        // The parser takes the arguments, without the name of the program.
        var start = Program().Match(line).Length;
        line = line[start..];
        position = Math.Clamp(position - start, 0, line.Length);
        var items = root.Parse(line, configuration).GetCompletions(position);
        return [.. items.Select(item => item.InsertText ?? item.Label).Distinct().Order(StringComparer.Ordinal)];
    }

    [GeneratedRegex(@"^\[suggest(:(?<position>\d{1,9}))?\]$", RegexOptions.ExplicitCapture)]
    private static partial Regex Directive();

    [GeneratedRegex(@"^\S*nibble(\.exe)?(\s+|$)", RegexOptions.ExplicitCapture)]
    private static partial Regex Program();
}
