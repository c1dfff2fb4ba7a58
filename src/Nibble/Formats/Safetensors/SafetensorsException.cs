namespace Nibble.Formats.Safetensors;

/// <summary>The exception for a safetensors file that cannot be used.</summary>
public sealed class SafetensorsException : NibbleException
{
    /// <summary>Creates an exception for a position in a file.</summary>
    /// <param name="file">The file's path.</param>
    /// <param name="offset">The byte offset of the fault.</param>
    /// <param name="message">What was found and what was expected.</param>
    /// <param name="innerException">The exception that revealed the fault, if any.</param>
    public SafetensorsException(string file, long offset, string message, Exception? innerException = null)
        : base($"{file}, byte {offset}: {message}", innerException!)
    {
        File = file;
        Offset = offset;
    }

    /// <summary>The file's path.</summary>
    public string File { get; }

    /// <summary>The byte offset of the fault.</summary>
    public long Offset { get; }
}
