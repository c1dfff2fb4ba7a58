namespace Nibble.Formats.Gguf;

/// <summary>The exception for a GGUF file that cannot be used.</summary>
public sealed class GgufException : NibbleException
{
    /// <summary>Creates an exception for a position in a file.</summary>
    /// <param name="file">The file's path.</param>
    /// <param name="offset">The byte offset of the fault.</param>
    /// <param name="message">What was found and what was expected.</param>
    public GgufException(string file, long offset, string message)
        : base($"{file}, byte {offset}: {message}")
    {
        File = file;
        Offset = offset;
    }

    /// <summary>The file's path.</summary>
    public string File { get; }

    /// <summary>The byte offset of the fault.</summary>
    public long Offset { get; }
}
