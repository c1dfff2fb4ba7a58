using Nibble.Files;
using Nibble.Cli.Report.Documents;
using System.Diagnostics;
using System.Runtime.ExceptionServices;
using System.Runtime.InteropServices;
using System.Text.Json;
using System.Text.Json.Serialization.Metadata;
using Nibble.Cli.Rendering;
using Nibble.Torch.Native;
using Spectre.Console;

namespace Nibble.Cli;

/// <summary>How much is written to stderr.</summary>
internal enum Detail
{
    /// <summary>Progress and messages.</summary>
    Normal,

    /// <summary>Warnings and errors.</summary>
    Quiet,

    /// <summary>Every stage of the progress on a line of its own, and errors with their stack traces.</summary>
    Verbose,
}

/// <summary>The environment of a command: where it writes, how it shows progress and when it stops.</summary>
internal sealed class CommandHost(TextWriter output, TextWriter error) : IDisposable
{
    /// <summary>A signal this soon after another counts as the same one: terminals and <c>timeout</c> signal both the process and its group.</summary>
    private static readonly TimeSpan Echo = TimeSpan.FromSeconds(0.5);

    /// <summary>The name of standard input in options.</summary>
    public const string StandardInput = "-";

    private readonly CancellationTokenSource source = new();
    private readonly Lock gate = new();
    private readonly List<string> temporary = [];
    private readonly Dictionary<string, string> copies = new(StringComparer.Ordinal);
    private ProgressDisplay? progress;
    private bool hasBegun;
    private long stopped;

    /// <summary>Stdout, which takes the result.</summary>
    public TextWriter Output => output;

    /// <summary>Cancelled by a signal. Once a command has read this token, a signal stops it at a safe point. Before that, a signal ends the process.</summary>
    public CancellationToken Cancellation
    {
        get
        {
            lock (gate)
            {
                hasBegun = true;
            }

            return source.Token;
        }
    }

    /// <summary>A console that renders tables to stdout.</summary>
    public IAnsiConsole Console { get; } = WriterOutput.Console(output);

    /// <summary>Stops the work. Ends the process if there is nothing to save, or if this is the second signal.</summary>
    public void Stop(PosixSignalContext context)
    {
        context.Cancel = true;
        lock (gate)
        {
            if (stopped != 0 && Stopwatch.GetElapsedTime(stopped) < Echo)
            {
                return;
            }

            if (!hasBegun || stopped != 0)
            {
                SayBriefly(hasBegun ? "stopped immediately" : "cancelled; nothing was written");
                temporary.ForEach(DeleteFolder);
                ProcessExit.Now(ExitCode.Cancelled);
            }

            stopped = Stopwatch.GetTimestamp();
        }

        SayBriefly("stopping at the next safe point; send a second signal to stop immediately");
        source.Cancel();
    }

    /// <summary>Creates a temporary folder. A signal that ends the process deletes it too.</summary>
    /// <param name="prefix">The start of its name.</param>
    public DirectoryInfo CreateTemporaryFolder(string prefix)
    {
        // Created inside the lock: a signal between the two statements would leave the folder behind.
        lock (gate)
        {
            var folder = Directory.CreateTempSubdirectory(prefix);
            temporary.Add(folder.FullName);
            return folder;
        }
    }

    /// <summary>The files that a data option names. For <c>-</c>, standard input is copied to a temporary file.</summary>
    public IReadOnlyList<string> DataFiles(IEnumerable<string> paths) => [.. paths.Select(path => path == StandardInput ? Rereadable(path) : path)];

    /// <summary>Files that can be read more than once. The contents of pipes are copied to temporary files.</summary>
    /// <param name="paths">The files or pipes, or <c>-</c>. If one does not exist, the code that reads it reports that.</param>
    /// <exception cref="NibbleException">The contents of a pipe are not text.</exception>
    public IReadOnlyList<string> Rereadable(IEnumerable<string> paths) => [.. paths.Select(Rereadable)];

    private string Rereadable(string path)
    {
        if (path != StandardInput && InputFile.IsRegular(path))
        {
            return path;
        }

        if (!copies.TryGetValue(path, out var copy))
        {
            var (name, text) = path == StandardInput
                ? ("stdin", InputFile.ReadStandardInput(Cancellation))
                : (Path.GetFileName(path), InputFile.ReadText(path, Cancellation));
            copy = Path.Combine(CreateTemporaryFolder("nibble-data-").FullName, name);
            File.WriteAllText(copy, text);
            copies.Add(path, copy);
        }

        return copy;
    }

    public void Dispose()
    {
        foreach (var copy in copies.Values)
        {
            DeleteFolder(Path.GetDirectoryName(copy)!);
        }

        Log?.Dispose();
        source.Dispose();
    }

    /// <summary>Loads libtorch and sets its number of threads. Call it before any tensor is created.</summary>
    public static void StartTorch(int? threads) => TorchRuntime.UseThreads(threads);

    /// <summary>Writes a warning, or the reason why the work stopped, to stderr.</summary>
    public void Warn(string message)
    {
        var line = $"nibble: {message}";
        if (progress is { } display)
        {
            display.Say(line);
        }
        else
        {
            error.WriteLine(line);
        }

        Log?.WriteLine(line);
    }

    /// <summary>How much is written to stderr.</summary>
    public Detail Detail { get; set; }

    /// <summary>Where messages and progress are recorded; null for nowhere.</summary>
    public LogFile? Log { get; private set; }

    /// <summary>Starts to record messages and progress.</summary>
    /// <param name="path">The file, which is appended to.</param>
    /// <param name="commandLine">What is being run.</param>
    /// <exception cref="NibbleException">The file cannot be written.</exception>
    public void OpenLog(string path, string commandLine)
    {
        Log = new LogFile(path);
        Log.WriteLine(commandLine);
    }

    /// <summary>Writes where an error comes from, if details are wanted.</summary>
    public void Explain(Exception exception)
    {
        if (Detail == Detail.Verbose)
        {
            error.WriteLine(exception.ToString());
        }

        Log?.WriteLine(exception.ToString());
    }

    /// <summary>Whether failures are also written to stdout as JSON, because the result would be.</summary>
    public bool FailsInJson { get; set; }

    /// <summary>Reports why the command failed.</summary>
    /// <param name="failures">What went wrong. All failures have the same exit code.</param>
    /// <param name="hint">Where to find help; null for none.</param>
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
            WriteJson(failures);
        }

        return failures[0].ExitCode;
    }

    private void WriteJson(IReadOnlyList<Failure> failures)
    {
        var message = string.Join('\n', failures.Select(failure => failure.Message));
        try
        {
            WriteJson(new ErrorDocument(ErrorDocument.CurrentSchema, failures[0].Kind, failures[0].ExitCode, message), CliJson.Default.ErrorDocument);
        }
        catch (Exception exception) when (exception is IOException or NibbleException)
        {
            // Stdout cannot be written to, which may be the failure itself. Stderr has the message.
        }
    }

    /// <summary>Runs work and shows its progress on stderr.</summary>
    public T WithProgress<T>(Func<IProgressLine, T> work)
    {
        // Verbose progress keeps every stage, which a bar would overwrite.
        using ProgressDisplay display = Detail switch
        {
            Detail.Quiet => new ProgressLines(TextWriter.Null),
            Detail.Verbose => new ProgressLines(error),
            _ => ProgressDisplay.On(error),
        };
        using var recorded = Log is { } log ? new ProgressLines(log) : null;
        progress = Detail == Detail.Quiet ? null : display;
        try
        {
            return work(recorded is null ? display : new ProgressTo(display, recorded));
        }
        finally
        {
            progress = null;
        }
    }

    /// <summary>Runs every step that delivers a result, even if one of them fails.</summary>
    /// <remarks>A result that took hours is printed even if its file cannot be written. The first failure is thrown after the last step.</remarks>
    /// <param name="steps">The steps: write the files, print the result.</param>
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
    public void WriteJson<T>(T document, JsonTypeInfo<T> type) => WriteUnbroken(JsonSerializer.Serialize(document, type));

    /// <summary>Writes a line to stdout without breaking it on a terminal, because users copy it: a document or a command.</summary>
    public void WriteUnbroken(string line) => output.Write(line + output.NewLine);

    /// <summary>Writes a warning, but does not wait long for stderr: the process that reads it may be stopped too.</summary>
    private void SayBriefly(string message) => Task.Run(() => Warn(message)).Wait(TimeSpan.FromSeconds(0.5));

    /// <summary>Writes untrusted text, such as a model's output, to stdout. On a terminal, control characters are replaced.</summary>
    public void WriteForeign(string text) => output.Write(output is StandardWriter { IsTerminal: true } ? TerminalText.Printable(text) : text);

    private static void DeleteFolder(string folder)
    {
        try
        {
            Directory.Delete(folder, recursive: true);
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            // It is already gone, or another thread is still writing to it. The process ends either way.
        }
    }
}
