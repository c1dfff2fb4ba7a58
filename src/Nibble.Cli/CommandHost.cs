using System.Runtime.ExceptionServices;
using System.Runtime.InteropServices;
using System.Text.Json;
using System.Text.Json.Serialization.Metadata;
using Nibble.Cli.Rendering;
using Nibble.Torch.Native;
using Spectre.Console;

namespace Nibble.Cli;

/// <summary>What every command needs of its surroundings: where to write, how to show progress, when to stop.</summary>
internal sealed class CommandHost(TextWriter output, TextWriter error) : IDisposable
{
    private readonly CancellationTokenSource source = new();

    /// <summary>The result: stdout.</summary>
    public TextWriter Output => output;

    /// <summary>Cancelled by Ctrl-C.</summary>
    public CancellationToken Cancellation => source.Token;

    /// <summary>A console that renders tables to stdout.</summary>
    public IAnsiConsole Console { get; } = AnsiConsole.Create(new AnsiConsoleSettings { Out = new WriterOutput(output, System.Console.IsOutputRedirected || !ReferenceEquals(output, System.Console.Out)) });

    /// <summary>The first signal asks the work to stop at a safe point; a second one ends the process.</summary>
    public void Cancel(PosixSignalContext context)
    {
        context.Cancel = !source.IsCancellationRequested;
        source.Cancel();
    }

    public void Dispose() => source.Dispose();

    /// <summary>Loads libtorch and sets its threads; before any tensor.</summary>
    public static void StartTorch(int? threads)
    {
        TorchRuntime.EnsureLoaded();
        TorchSharp.torch.set_num_threads(threads ?? Environment.ProcessorCount);
    }

    /// <summary>Tells the user on stderr what does not stop the work, or why it stopped.</summary>
    public void Warn(string message) => error.WriteLine($"nibble: {message}");

    /// <summary>Whether failures are told on stdout in JSON too, since the result would be.</summary>
    public bool FailsInJson { get; set; }

    /// <summary>Tells why the command failed.</summary>
    /// <param name="failures">What is wrong, all of one exit code.</param>
    /// <param name="hint">Where to read on; null for nothing.</param>
    /// <returns>The exit code.</returns>
    public int Fail(IReadOnlyList<Failure> failures, string? hint = null)
    {
        foreach (var failure in failures)
        {
            Warn(failure.Message);
        }

        if (hint is not null)
        {
            error.WriteLine(hint);
        }

        if (FailsInJson)
        {
            WriteJson(
                new ErrorDocument(ErrorDocument.CurrentSchema, failures[0].Kind, failures[0].ExitCode, string.Join('\n', failures.Select(failure => failure.Message))),
                CliJson.Default.ErrorDocument);
        }

        return failures[0].ExitCode;
    }

    /// <summary>Runs work while its progress is shown on stderr.</summary>
    public T WithProgress<T>(Func<IProgressLine, T> work) => ProgressDisplay.Run(error, work);

    /// <summary>Takes all steps of handing over a result, even where one of them fails.</summary>
    /// <remarks>What hours have worked out is printed though a file of it cannot be written. The first failure is thrown in the end.</remarks>
    /// <param name="steps">Writing its files, and printing it.</param>
    public static void Deliver(params Action[] steps)
    {
        ExceptionDispatchInfo? failure = null;
        foreach (var step in steps)
        {
            try
            {
                step();
            }
            catch (Exception exception)
            {
                failure ??= ExceptionDispatchInfo.Capture(exception);
            }
        }

        failure?.Throw();
    }

    /// <summary>Writes one JSON document to stdout.</summary>
    public void WriteJson<T>(T document, JsonTypeInfo<T> type) => output.WriteLine(JsonSerializer.Serialize(document, type));
}
