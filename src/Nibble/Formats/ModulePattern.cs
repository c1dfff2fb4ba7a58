using System.Text.RegularExpressions;

namespace Nibble.Formats;

/// <summary>Matches module names with regular expressions from other tools' configurations. A match starts at the start of the name and may end
/// anywhere.</summary>
internal static class ModulePattern
{
    // Names have about a hundred characters. A pattern that takes longer was made to do so.
    private static readonly TimeSpan Longest = TimeSpan.FromSeconds(1);

    /// <summary>Whether a pattern matches the start of a name, like Python's <c>re.match</c>.</summary>
    /// <param name="pattern">The pattern.</param>
    /// <param name="name">The name of a module.</param>
    /// <param name="source">The file that contains the pattern, for messages.</param>
    /// <exception cref="NibbleException">The pattern is not a regular expression, or matching takes too long.</exception>
    public static bool Matches(string pattern, string name, string source)
    {
        try
        {
            return Regex.IsMatch(name, $@"\A(?:{pattern})", RegexOptions.CultureInvariant, Longest);
        }
        catch (ArgumentException exception)
        {
            throw new NibbleException($"{source}: '{pattern}' is not a regular expression: {exception.Message}", exception);
        }
        catch (RegexMatchTimeoutException exception)
        {
            throw new NibbleException($"{source}: the regular expression '{pattern}' takes too long to match '{name}'.", exception);
        }
    }
}
