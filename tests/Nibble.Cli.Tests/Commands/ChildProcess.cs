using System.Diagnostics;
using System.Runtime.InteropServices;

namespace Nibble.Cli.Tests.Commands;

/// <summary>The built program, or another one, in a process of its own.</summary>
internal sealed partial class ChildProcess : IDisposable
{
    public const int HangUp = 1;
    public const int Interrupt = 2;
    public const int Kill = 9;
    public const int Terminate = 15;
    public const int Continue = 18;
    public const int Pause = 19;

    // As long as another build takes on a busy machine.
    private static readonly TimeSpan Patience = TimeSpan.FromMinutes(10);
    private static readonly string Program = Path.Combine(AppContext.BaseDirectory, OperatingSystem.IsWindows() ? "Nibble.Cli.exe" : "Nibble.Cli");
    private readonly Process process;

    private ChildProcess(Process process) => this.process = process;

    public int ExitCode => process.ExitCode;

    /// <summary>The processors' time that it has taken until now.</summary>
    public TimeSpan Worked
    {
        get
        {
            process.Refresh();
            return process.TotalProcessorTime;
        }
    }

    /// <summary>Starts the program.</summary>
    /// <param name="folder">The current folder.</param>
    /// <param name="arguments">The command line.</param>
    /// <param name="environment">Variables beside the inherited ones.</param>
    /// <param name="program">A copy of the program, or another program; null for the built one.</param>
    public static ChildProcess Start(string folder, string[] arguments, Dictionary<string, string>? environment = null, string? program = null)
    {
        string[] line = [program ?? Program, .. arguments];

        // A run in the background inherits ignored signals, which a process keeps unless they are reset.
        line = OperatingSystem.IsLinux() ? ["env", "--default-signal=INT,TERM,HUP", .. line] : line;
        return Begin(folder, line, environment ?? []);
    }

    /// <summary>Starts a line of bash, which finds the program in <c>$0</c> and the arguments in <c>$@</c>.</summary>
    public static ChildProcess StartBash(string folder, string script, string[] arguments, Dictionary<string, string>? environment = null) =>
        Begin(folder, ["bash", "-c", script, Program, .. arguments], environment ?? []);

    private static ChildProcess Begin(string folder, string[] line, Dictionary<string, string> environment)
    {
        var start = new ProcessStartInfo(line[0], line[1..])
        {
            WorkingDirectory = folder,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        };

        // What the test host was started with is not for another build.
        foreach (var name in start.Environment.Keys.Where(name => name.StartsWith("MSBUILD", StringComparison.OrdinalIgnoreCase)).ToList())
        {
            start.Environment.Remove(name);
        }

        start.Environment["DOTNET_CLI_UI_LANGUAGE"] = "en";
        start.Environment["DOTNET_ROOT"] = Path.GetFullPath(Path.Combine(RuntimeEnvironment.GetRuntimeDirectory(), "..", "..", ".."));
        foreach (var (name, value) in environment)
        {
            start.Environment[name] = value;
        }

        return new ChildProcess(Process.Start(start)!);
    }

    /// <summary>Starts the program and waits for its end.</summary>
    public static async Task<CommandRun> Run(
        string folder, string[] arguments, Dictionary<string, string>? environment = null, string? program = null)
    {
        using var child = Start(folder, arguments, environment, program);
        var (output, error) = await child.Finish();
        return new CommandRun(child.ExitCode, output, error);
    }

    /// <summary>Runs another program and expects that it succeeds.</summary>
    /// <returns>What it wrote to stdout.</returns>
    public static async Task<string> Succeed(string folder, string program, params string[] arguments)
    {
        var run = await Run(folder, arguments, program: program);
        Assert.True(run.ExitCode == 0, $"{program} {string.Join(' ', arguments)} ended with {run.ExitCode}:\n{run.Output}\n{run.Error}");
        return run.Output;
    }

    /// <summary>Runs <c>dotnet</c> and expects that it succeeds.</summary>
    public static Task DotNet(string folder, params string[] arguments) => Succeed(folder, "dotnet", arguments);

    /// <summary>Waits for a line on stderr.</summary>
    public async Task ReadErrorUntil(string text)
    {
        var errors = new List<string>();
        while (!errors.Exists(line => line.Contains(text, StringComparison.Ordinal))
            && await process.StandardError.ReadLineAsync(TestContext.Current.CancellationToken) is { } line)
        {
            errors.Add(line);
        }

        Assert.Contains(errors, line => line.Contains(text, StringComparison.Ordinal));
    }

    /// <summary>Waits until the program has written a file.</summary>
    public async Task WaitForFile(string path)
    {
        while (!File.Exists(path))
        {
            Assert.False(process.HasExited, $"the program ended, and there is no {path}");
            await Task.Delay(2, TestContext.Current.CancellationToken);
        }
    }

    /// <summary>The threads that run now; 0 once it has ended.</summary>
    public int Threads
    {
        get
        {
            try
            {
                return Directory.GetDirectories($"/proc/{process.Id}/task").Length;
            }
            catch (DirectoryNotFoundException)
            {
                return 0;
            }
        }
    }

    /// <summary>Whether it has mapped a file whose name contains a text.</summary>
    public bool HasOpen(string name) => File.ReadAllText($"/proc/{process.Id}/maps").Contains(name, StringComparison.Ordinal);

    /// <summary>Waits until something holds, or the process has ended.</summary>
    public async Task WaitFor(Func<bool> holds)
    {
        for (var i = 0; i < Patience.TotalMilliseconds / 10 && !process.HasExited && !holds(); i++)
        {
            await Task.Delay(10, TestContext.Current.CancellationToken);
        }
    }

    /// <summary>Sends a signal; the process must still run.</summary>
    public void Signal(int signal) => Assert.Equal(0, Send(process.Id, signal));

    /// <summary>Kills the process unless it has ended.</summary>
    public void SignalIfRunning(int signal) => _ = process.HasExited ? 0 : Send(process.Id, signal);

    /// <summary>Waits for the end, and reads what is left of stdout and stderr.</summary>
    public async Task<(string Output, string Error)> Finish()
    {
        using var patience = CancellationTokenSource.CreateLinkedTokenSource(TestContext.Current.CancellationToken);
        patience.CancelAfter(Patience);
        try
        {
            var (output, error) = (process.StandardOutput.ReadToEndAsync(patience.Token), process.StandardError.ReadToEndAsync(patience.Token));
            await process.WaitForExitAsync(patience.Token);
            return (await output, await error);
        }
        finally
        {
            if (!process.HasExited)
            {
                process.Kill(entireProcessTree: true);
            }
        }
    }

    public void Dispose() => process.Dispose();

    [LibraryImport("libc", EntryPoint = "kill")]
    private static partial int Send(int process, int signal);
}
