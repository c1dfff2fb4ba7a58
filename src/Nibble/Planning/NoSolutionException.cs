namespace Nibble.Planning;

/// <summary>Nothing meets a budget or another constraint. The message gives the nearest solution.</summary>
internal sealed class NoSolutionException : NibbleException
{
    /// <inheritdoc/>
    public NoSolutionException()
    {
    }

    /// <inheritdoc/>
    public NoSolutionException(string message)
        : base(message)
    {
    }

    /// <inheritdoc/>
    public NoSolutionException(string message, Exception innerException)
        : base(message, innerException)
    {
    }
}
