using Nibble.Planning;

namespace Nibble.Cli;

/// <summary>What was asked for cannot be done as it was asked: exit code 2, and the hint where to read on.</summary>
internal sealed class UsageException(string message, Exception? cause = null) : NibbleException(message, cause!)
{
    /// <summary>Reads what a word of the command line names, whose faults are then the command line's.</summary>
    /// <param name="read">Reads it.</param>
    public static T Of<T>(Func<T> read)
    {
        try
        {
            return read();
        }
        catch (NibbleException exception) when (exception is not UsageException)
        {
            throw new UsageException(exception.Message, exception);
        }
    }
}

/// <summary>Why a command failed: what the program says, prints as JSON and returns.</summary>
/// <param name="Kind">The kind, as in <c>docs/commands.md</c>.</param>
/// <param name="ExitCode">The exit code.</param>
/// <param name="Message">What happened, for people.</param>
internal sealed record Failure(string Kind, int ExitCode, string Message)
{
    /// <summary>The failure that an exception means.</summary>
    public static Failure Of(Exception exception) => exception switch
    {
        OperationCanceledException => Cancelled("cancelled; nothing was written"),
        UsageException => Usage(exception.Message),
        NativeLibraryException => new("nativeLibrary", Cli.ExitCode.NativeLibrary, exception.Message),
        NoSolutionException => new("noSolution", Cli.ExitCode.NoSolution, exception.Message),
        NibbleException or IOException or UnauthorizedAccessException => new("badInput", Cli.ExitCode.BadInput, exception.Message),
        _ => new("internalError", Cli.ExitCode.InternalError, $"internal error; please report it with the lines below\n{exception}"),
    };

    /// <summary>A command line that cannot be understood or done.</summary>
    public static Failure Usage(string message) => new("usage", Cli.ExitCode.Usage, message);

    /// <summary>The work was stopped by a signal.</summary>
    public static Failure Cancelled(string message) => new("cancelled", Cli.ExitCode.Cancelled, message);
}
