using System.Text.RegularExpressions;

namespace Nibble.Formats;

/// <summary>Regular expressions that configurations of other tools match the names of modules with: from the name's start, but not to its end.</summary>
internal static class ModulePattern
{
    // A name has a hundred characters; what takes longer was made to.
    private static readonly TimeSpan Longest = TimeSpan.FromSeconds(1);

    /// <summary>Whether a pattern matches the start of a name, as Python's <c>re.match</c>.</summary>
    /// <param name="pattern">The pattern.</param>
    /// <param name="name">The name of a module.</param>
    /// <param name="source">The file that the pattern is from, for messages.</param>
    /// <exception cref="NibbleException">The pattern is none, or takes forever.</exception>
    public static bool Matches(string pattern, string name, string source)
    {
        try
        {
            return Regex.IsMatch(name, $@"\A(?:{pattern})", RegexOptions.CultureInvariant, Longest);
        }
        catch (ArgumentException exception)
        {
            throw new NibbleException($"{source}: '{pattern}' is no regular expression: {exception.Message}", exception);
        }
        catch (RegexMatchTimeoutException exception)
        {
            throw new NibbleException($"{source}: the regular expression '{pattern}' takes too long to match '{name}'.", exception);
        }
    }
}
