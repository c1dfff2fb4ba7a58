namespace Nibble.Cli.Rendering;

/// <summary>Text for terminals.</summary>
internal static class TerminalText
{
    /// <summary>Replaces control characters, by which names in files and what models write could make a terminal do something; lines and tabs stay.</summary>
    public static string Printable(string text) => text.Any(IsControl) ? string.Concat(text.Select(c => IsControl(c) ? '\uFFFD' : c)) : text;

    private static bool IsControl(char c) => char.IsControl(c) && c is not ('\n' or '\t');
}
