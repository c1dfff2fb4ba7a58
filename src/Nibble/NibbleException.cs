namespace Nibble;

/// <summary>The user's input cannot be used. The message says what was found and where, what was expected, and what to do.</summary>
public class NibbleException : Exception
{
    /// <summary>Creates an exception with a message for the user.</summary>
    public NibbleException(string message)
        : base(message)
    {
    }

    /// <summary>Creates an exception with a message for the user and its cause.</summary>
    public NibbleException(string message, Exception innerException)
        : base(message, innerException)
    {
    }

    /// <summary>Creates an exception without a message.</summary>
    public NibbleException()
    {
    }
}
