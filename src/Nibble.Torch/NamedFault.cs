using Nibble.Files;

namespace Nibble.Torch;

/// <summary>Adds the name of the layer or part to an error from code that does not know the name.</summary>
internal static class NamedFault
{
    /// <summary>Runs a function and prefixes the message of its errors with a name.</summary>
    public static T In<T>(string name, Func<T> work)
    {
        try
        {
            return work();
        }
        catch (NibbleException exception) when (exception is not DamagedFileException)
        {
            throw new NibbleException($"{name}: {exception.Message}", exception);
        }
    }
}
