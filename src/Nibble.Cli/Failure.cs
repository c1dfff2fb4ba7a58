using System.Diagnostics;
using System.Reflection;
using System.Runtime.InteropServices;
using Nibble.Models;
using Nibble.Planning;
using Nibble.Torch;
using Nibble.Torch.Calibration;

namespace Nibble.Cli;

/// <summary>The command line cannot be carried out: exit code 2, and a hint where to find help.</summary>
internal sealed class UsageException(string message, Exception? cause = null) : NibbleException(message, cause!)
{
    /// <summary>Reads what an argument names. A failure to read it counts as wrong usage.</summary>
    /// <param name="read">Does the reading.</param>
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

/// <summary>Why a command failed: the message, the JSON document and the exit code.</summary>
/// <param name="Kind">The kind, as in <c>docs/reference/json.md</c>.</param>
/// <param name="ExitCode">The exit code.</param>
/// <param name="Message">What happened, for people.</param>
internal sealed record Failure(string Kind, int ExitCode, string Message)
{
    /// <summary>The messages of libtorch, the C++ library and ONNX Runtime when memory runs out.</summary>
    private static readonly string[] MemoryWords = ["can't allocate memory", "not enough memory", "bad_alloc", "Failed to allocate memory", "bad allocation"];

    /// <summary>Explains an exception. An unknown kind is an internal error, reported with its stack trace.</summary>
    public static Failure Of(Exception exception)
    {
        var cause = CauseOf(exception);
        return cause switch
        {
            OperationCanceledException => Cancelled("cancelled; nothing was written"),
            UsageException => Usage(cause.Message),
            NativeLibraryException => new("nativeLibrary", Cli.ExitCode.NativeLibrary, cause.Message),
            NoSolutionException => new("noSolution", Cli.ExitCode.NoSolution, cause.Message),
            _ when IsOutOfMemory(cause) => BadInput(
                $"memory ran out, after {PeakBytes() >> 20:N0} MiB were in use: give the process more memory, "
                + $"or use fewer --threads, a shorter --context or a smaller file. ({FirstLine(cause.Message)})"),
            MissingDataException => BadInput($"{cause.Message}: pass --data FILE, or --data self to have a decoder generate it"),
            MissingHeadException => BadInput(
                $"{cause.Message}: train a head with nibble finetune MODEL --task classification --data FILE, "
                + "or use the model for embeddings with --task embedding"),
            NibbleException when cause.Message.EndsWith(OutputJob.StartOver, StringComparison.Ordinal) => BadInput($"{cause.Message} with --restart"),
            NibbleException or IOException or UnauthorizedAccessException => BadInput(cause.Message),
            _ when IsTooLargeFile(cause) => BadInput("a file would grow larger than the file system, or the process's limit (ulimit -f), allows"),
            InsufficientExecutionStackException => BadInput("the input is nested too deeply"),
            _ => new("internalError", Cli.ExitCode.InternalError, $"internal error; please report it together with the lines below\n{exception}"),
        };
    }

    /// <summary>A command line that cannot be parsed or carried out.</summary>
    public static Failure Usage(string message) => new("usage", Cli.ExitCode.Usage, message);

    /// <summary>A signal stopped the work.</summary>
    public static Failure Cancelled(string message) => new("cancelled", Cli.ExitCode.Cancelled, message);

    private static Failure BadInput(string message) => new("badInput", Cli.ExitCode.BadInput, message);

    /// <summary>The cause, without the exceptions that wrap it: parallel work, reflection, type initializers.</summary>
    private static Exception CauseOf(Exception exception) => exception switch
    {
        AggregateException { InnerExceptions: { Count: > 0 } all } => CauseOf(all.FirstOrDefault(inner => inner is not OperationCanceledException) ?? all[0]),
        TargetInvocationException or TypeInitializationException when exception.InnerException is { } inner => CauseOf(inner),
        _ => exception,
    };

    /// <summary>Whether memory ran out. Each library reports that differently.</summary>
    public static bool IsOutOfMemory(Exception exception) => exception is OutOfMemoryException
        || (exception is NibbleException { InnerException: { } inner } && IsOutOfMemory(CauseOf(inner)))
        || (exception is ExternalException or NibbleException
            && Array.Exists(MemoryWords, word => exception.Message.Contains(word, StringComparison.OrdinalIgnoreCase)));

    /// <summary>Whether a file became too large to write, which .NET reports as an argument out of range.</summary>
    private static bool IsTooLargeFile(Exception exception) =>
        exception is ArgumentOutOfRangeException { ParamName: "value" }
        && exception.StackTrace?.TrimStart().StartsWith("at System.IO.", StringComparison.Ordinal) == true;

    private static long PeakBytes()
    {
        using var process = Process.GetCurrentProcess();
        return process.PeakWorkingSet64;
    }

    private static string FirstLine(string text) => text.Split('\n')[0].Trim();
}
