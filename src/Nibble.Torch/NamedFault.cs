using Nibble.Files;

namespace Nibble.Torch;

/// <summary>Says of which layer or part a fault speaks that was found where names are not known.</summary>
internal static class NamedFault
{
    /// <summary>Does work, and puts a name before the message of what goes wrong in it.</summary>
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
