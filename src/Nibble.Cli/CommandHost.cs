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

/// <summary>What every command needs of its surroundings: where to write, how to show progress, when to stop.</summary>
internal sealed class CommandHost(TextWriter output, TextWriter error) : IDisposable
{
    /// <summary>Terminals, <c>timeout</c> and other starters give one signal to a process and to its group: what follows this soon is the same.</summary>
    private static readonly TimeSpan Echo = TimeSpan.FromSeconds(0.5);

    private readonly CancellationTokenSource source = new();
    private readonly Lock gate = new();
    private readonly List<string> temporary = [];
    private readonly Dictionary<string, string> copies = new(StringComparer.Ordinal);
    private ProgressDisplay? progress;
    private bool hasBegun;
    private long stopped;

    /// <summary>The result: stdout.</summary>
    public TextWriter Output => output;

    /// <summary>Cancelled by a signal. Work that asks for it has something to lose and stops at a safe point; before, a signal ends the process.</summary>
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

    /// <summary>Stops the work, or the process where there is nothing to save or the user will not wait any more.</summary>
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
                SayBriefly(hasBegun ? "ended at once" : "cancelled; nothing was written");
                temporary.ForEach(DeleteFolder);
                ProcessExit.Now(ExitCode.Cancelled);
            }

            stopped = Stopwatch.GetTimestamp();
        }

        SayBriefly("stopping where nothing is lost; a second signal ends it at once");
        source.Cancel();
    }

    /// <summary>Makes a folder for the time of the work, which a signal that ends the process deletes too.</summary>
    /// <param name="prefix">How its name begins.</param>
    public DirectoryInfo CreateTemporaryFolder(string prefix)
    {
        // Made inside the lock: a signal between the two would leave the folder behind.
        lock (gate)
        {
            var folder = Directory.CreateTempSubdirectory(prefix);
            temporary.Add(folder.FullName);
            return folder;
        }
    }

    /// <summary>A file that can be read more than once: what comes through a pipe is copied to one for the time of the work.</summary>
    /// <param name="path">The file or pipe. Where there is none, whoever reads it says so.</param>
    /// <exception cref="NibbleException">What comes through the pipe is no text.</exception>
    public string Rereadable(string path)
    {
        if (InputFile.IsRegular(path))
        {
            return path;
        }

        if (!copies.TryGetValue(path, out var copy))
        {
            var text = InputFile.ReadText(path, Cancellation);
            copy = Path.Combine(CreateTemporaryFolder("nibble-data-").FullName, Path.GetFileName(path));
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

        source.Dispose();
    }

    /// <summary>Loads libtorch and sets its threads; before any tensor.</summary>
    public static void StartTorch(int? threads) => TorchRuntime.UseThreads(threads);

    /// <summary>Tells the user on stderr what does not stop the work, or why it stopped.</summary>
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
    }

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
            // Stdout takes nothing, which may be the failure itself; stderr has it.
        }
    }

    /// <summary>Runs work while its progress is shown on stderr.</summary>
    public T WithProgress<T>(Func<IProgressLine, T> work)
    {
        using var display = ProgressDisplay.On(error);
        progress = display;
        try
        {
            return work(display);
        }
        finally
        {
            progress = null;
        }
    }

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
    public void WriteJson<T>(T document, JsonTypeInfo<T> type) => WriteUnbroken(JsonSerializer.Serialize(document, type));

    /// <summary>Writes a line to stdout that is to be copied, and so is not broken on a terminal: a document, or a command.</summary>
    public void WriteUnbroken(string line) => output.Write(line + output.NewLine);

    /// <summary>Tells the user, unless stderr takes nothing: whoever reads it may be stopped too.</summary>
    private void SayBriefly(string message) => Task.Run(() => Warn(message)).Wait(TimeSpan.FromSeconds(0.5));

    /// <summary>Writes text that comes from elsewhere, such as a model, to stdout: a terminal is not told what to do by it.</summary>
    public void WriteForeign(string text) => output.Write(output is StandardWriter { IsTerminal: true } ? TerminalText.Printable(text) : text);

    private static void DeleteFolder(string folder)
    {
        try
        {
            Directory.Delete(folder, recursive: true);
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            // It is gone already, or another thread still writes into it; the process ends either way.
        }
    }
}
