
namespace Nibble.Files;

/// <summary>A file of unfinished work or of a cache is no longer what was written.</summary>
public sealed class DamagedFileException : NibbleException
{
    /// <summary>A file that is damaged.</summary>
    /// <param name="path">The file.</param>
    /// <param name="fault">What was found, and what was expected.</param>
    /// <param name="remedy">What to do.</param>
    public DamagedFileException(string path, string fault, string remedy)
        : base($"{path} is damaged: {fault}; {remedy}")
    {
    }
}
