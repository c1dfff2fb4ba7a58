
namespace Nibble.Files;

/// <summary>A file of unfinished work or of a cache has changed since it was written.</summary>
public sealed class DamagedFileException : NibbleException
{
    /// <summary>Creates an exception for a damaged file.</summary>
    /// <param name="path">The file.</param>
    /// <param name="fault">What was found, and what was expected.</param>
    /// <param name="remedy">What to do.</param>
    public DamagedFileException(string path, string fault, string remedy)
        : base($"{path} is damaged: {fault}; {remedy}")
    {
    }
}
