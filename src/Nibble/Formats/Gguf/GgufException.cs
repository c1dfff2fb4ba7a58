namespace Nibble.Formats.Gguf;

/// <summary>A GGUF file that cannot be used.</summary>
public sealed class GgufException : NibbleException
{
    /// <summary>Creates an exception about a place in a file.</summary>
    /// <param name="file">The file's path.</param>
    /// <param name="offset">The byte at which the fault was found.</param>
    /// <param name="message">What was found and what was expected.</param>
    public GgufException(string file, long offset, string message)
        : base($"{file}, byte {offset}: {message}")
    {
        File = file;
        Offset = offset;
    }

    /// <summary>The file's path.</summary>
    public string File { get; }

    /// <summary>The byte at which the fault was found.</summary>
    public long Offset { get; }
}
