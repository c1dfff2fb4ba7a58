namespace Nibble;

/// <summary>A required native library is missing on this machine or does not load.</summary>
public sealed class NativeLibraryException : NibbleException
{
    /// <inheritdoc/>
    public NativeLibraryException()
    {
    }

    /// <inheritdoc/>
    public NativeLibraryException(string message)
        : base(message)
    {
    }

    /// <inheritdoc/>
    public NativeLibraryException(string message, Exception innerException)
        : base(message, innerException)
    {
    }
}
