namespace Nibble.Samples.Storyteller;

/// <summary>Turns a fault of the input into a line on stderr.</summary>
internal static class Failures
{
    /// <summary>Runs a command.</summary>
    /// <returns>The exit code.</returns>
    public static int Catch(Action command)
    {
        try
        {
            command();
            return 0;
        }
        catch (NibbleException exception)
        {
            Console.Error.WriteLine(exception.Message);
            return 1;
        }
    }
}
