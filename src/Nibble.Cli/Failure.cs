using System.Diagnostics;
using System.Reflection;
using System.Runtime.InteropServices;
using Nibble.Planning;

namespace Nibble.Cli;

/// <summary>What an exception means for the user of the program.</summary>
/// <param name="Code">What the process returns.</param>
/// <param name="Message">What is said on stderr.</param>
internal sealed record Failure(int Code, string Message)
{
    /// <summary>What libtorch, the C++ library and ONNX Runtime say when memory runs out.</summary>
    private static readonly string[] MemoryWords = ["can't allocate memory", "not enough memory", "bad_alloc", "Failed to allocate memory", "bad allocation"];

    /// <summary>Explains an exception. What is of no known kind is a fault of the program, told with all that helps to find it.</summary>
    public static Failure Of(Exception exception)
    {
        var cause = CauseOf(exception);
        return cause switch
        {
            OperationCanceledException => new(ExitCode.Cancelled, "cancelled; nothing was written"),
            NativeLibraryException => new(ExitCode.NativeLibrary, cause.Message),
            NoSolutionException => new(ExitCode.NoSolution, cause.Message),
            _ when IsOutOfMemory(cause) => new(
                ExitCode.BadInput,
                $"memory ran out, after {PeakBytes() >> 20:N0} MiB were in use: give the process more, or less to do, "
                + $"by fewer --threads, a shorter --context or a smaller file. ({FirstLine(cause.Message)})"),
            NibbleException or IOException or UnauthorizedAccessException => new(ExitCode.BadInput, cause.Message),
            _ when IsTooLargeFile(cause) => new(ExitCode.BadInput, "a file would grow larger than the file system, or the process's limit (ulimit -f), allows"),
            InsufficientExecutionStackException => new(ExitCode.BadInput, "the input is nested too deeply"),
            _ => new(ExitCode.InternalError, $"internal error; please report it with the lines below\n{exception}"),
        };
    }

    /// <summary>What happened, without what it happened in: work on several threads, reflection, a type's first use.</summary>
    private static Exception CauseOf(Exception exception) => exception switch
    {
        AggregateException { InnerExceptions: { Count: > 0 } all } => CauseOf(all.FirstOrDefault(inner => inner is not OperationCanceledException) ?? all[0]),
        TargetInvocationException or TypeInitializationException when exception.InnerException is { } inner => CauseOf(inner),
        _ => exception,
    };

    /// <summary>Whether memory ran out, which each library says in its own way.</summary>
    public static bool IsOutOfMemory(Exception exception) => exception is OutOfMemoryException
        || (exception is NibbleException { InnerException: { } inner } && IsOutOfMemory(CauseOf(inner)))
        || (exception is ExternalException or NibbleException
            && Array.Exists(MemoryWords, word => exception.Message.Contains(word, StringComparison.OrdinalIgnoreCase)));

    /// <summary>Whether .NET could not write since the file was too large, which it reports as an argument out of range.</summary>
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
