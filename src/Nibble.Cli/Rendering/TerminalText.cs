namespace Nibble.Cli.Rendering;

/// <summary>Text for terminals.</summary>
internal static class TerminalText
{
    /// <summary>Replaces control characters except line ends and tabs, because names in files and model output could control the terminal.</summary>
    public static string Printable(string text) => text.Any(IsControl) ? string.Concat(text.Select(c => IsControl(c) ? '\uFFFD' : c)) : text;

    private static bool IsControl(char c) => char.IsControl(c) && c is not ('\n' or '\t');
}
