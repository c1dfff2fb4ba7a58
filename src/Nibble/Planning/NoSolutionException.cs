namespace Nibble.Planning;

/// <summary>Nothing meets a budget or another constraint; the message names what comes nearest.</summary>
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
