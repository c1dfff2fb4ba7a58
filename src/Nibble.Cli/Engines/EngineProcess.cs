using System.Diagnostics;
using System.Runtime.InteropServices;
using Nibble.Torch.Native;

namespace Nibble.Cli.Engines;

/// <summary>Starts this program again as a process that runs an engine.</summary>
internal static class EngineProcess
{
    private static readonly string Root = Path.GetFullPath(Path.Combine(RuntimeEnvironment.GetRuntimeDirectory(), "..", "..", ".."));

    private static PosixSignalRegistration[] ignored = [];

    /// <summary>Starts the process, with its standard streams connected to this one.</summary>
    /// <exception cref="NibbleException">The process does not start.</exception>
    public static Process Start(params string[] arguments)
    {
        var suffix = OperatingSystem.IsWindows() ? ".exe" : string.Empty;
        var program = Path.Combine(AppContext.BaseDirectory, "Nibble.Cli" + suffix);

        // A tool package has no launcher with this name.
        string[] line = File.Exists(program) ? [program] : [Path.Combine(Root, "dotnet" + suffix), Path.Combine(AppContext.BaseDirectory, "Nibble.Cli.dll")];
        OpenMpWaiting.Shorten();
        var start = new ProcessStartInfo(line[0], [.. line[1..], .. arguments])
        {
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        };

        // The launcher searches for .NET and may find a different one from this process's.
        start.Environment["DOTNET_ROOT"] = Root;
        return Process.Start(start) ?? throw new NibbleException($"cannot start {line[0]}");
    }

    /// <summary>Ends a process by closing its stdin.</summary>
    public static void End(Process process)
    {
        process.StandardInput.Close();
        if (!process.WaitForExit(TimeSpan.FromSeconds(10)))
        {
            process.Kill();
        }

        process.Dispose();
    }

    /// <summary>Ignores signals that reach all processes of a terminal or service.</summary>
    /// <remarks>The parent process ends this one by closing its stdin.</remarks>
    public static void IgnoreSignals() => ignored = Array.ConvertAll(
        (PosixSignal[])[PosixSignal.SIGINT, PosixSignal.SIGTERM, PosixSignal.SIGHUP],
        signal => PosixSignalRegistration.Create(signal, context => context.Cancel = true));
}
