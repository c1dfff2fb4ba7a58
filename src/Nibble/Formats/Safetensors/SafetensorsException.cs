namespace Nibble.Formats.Safetensors;

/// <summary>A safetensors file that cannot be used.</summary>
public sealed class SafetensorsException : NibbleException
{
    /// <summary>Creates an exception about a place in a file.</summary>
    /// <param name="file">The file's path.</param>
    /// <param name="offset">The byte at which the fault was found.</param>
    /// <param name="message">What was found and what was expected.</param>
    /// <param name="innerException">The cause, if another exception found the fault.</param>
    public SafetensorsException(string file, long offset, string message, Exception? innerException = null)
        : base($"{file}, byte {offset}: {message}", innerException!)
    {
        File = file;
        Offset = offset;
    }

    /// <summary>The file's path.</summary>
    public string File { get; }

    /// <summary>The byte at which the fault was found.</summary>
    public long Offset { get; }
}
