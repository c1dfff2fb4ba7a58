using System.Runtime.InteropServices;
using System.Text;

namespace Nibble.Cli.Tests.Commands;

/// <summary>What the program wrote, run on a terminal.</summary>
/// <param name="ExitCode">What it returned.</param>
/// <param name="Terminal">All that reached the terminal, control characters included.</param>
/// <param name="Redirected">What went to a file instead; empty where nothing was redirected.</param>
internal sealed record TerminalRun(int ExitCode, string Terminal, string Redirected)
{
    /// <summary>The lines that stand on the terminal in the end.</summary>
    public IReadOnlyList<string> Lines => [.. Terminal.Split('\n').Select(AsShown)];

    /// <summary>What a carriage return lets later characters write over.</summary>
    private static string AsShown(string line)
    {
        var shown = new StringBuilder();
        foreach (var part in line.TrimEnd('\r').Split('\r'))
        {
            shown.Remove(0, Math.Min(part.Length, shown.Length)).Insert(0, part);
        }

        return shown.ToString().TrimEnd();
    }
}

/// <summary>Runs the built program on a terminal of some width.</summary>
internal static partial class PseudoTerminal
{
    /// <summary>Nothing goes to a file.</summary>
    public const string Nothing = "";

    /// <summary>Stdout alone goes to a file.</summary>
    public const string Output = ">\"$REDIRECTED\"";

    /// <summary>Stderr alone goes to a file.</summary>
    public const string Error = "2>\"$REDIRECTED\"";

    // O_RDWR, O_NOCTTY, O_CLOEXEC.
    private const int Flags = 0x2 | 0x100 | 0x80000;
    private const nuint SetWindowSize = 0x5414;

    private static int files;

    /// <summary>Runs the program and waits for its end.</summary>
    /// <param name="folder">The current folder, where there is room for files of this class.</param>
    /// <param name="columns">The terminal's width.</param>
    /// <param name="redirection"><see cref="Nothing"/>, <see cref="Output"/> or <see cref="Error"/>.</param>
    /// <param name="environment">Variables beside the inherited ones; those of a terminal's kind are reset.</param>
    /// <param name="arguments">The command line.</param>
    public static async Task<TerminalRun> Run(string folder, int columns, string redirection, Dictionary<string, string> environment, string[] arguments)
    {
        var cancellation = TestContext.Current.CancellationToken;
        var master = OpenMaster(Flags);
        Assert.True(master >= 0 && Grant(master) == 0 && Unlock(master) == 0, "no pseudo-terminal can be opened");
        var bytes = new byte[64];
        Assert.Equal(0, Name(master, bytes, bytes.Length));
        var name = Encoding.UTF8.GetString(bytes.AsSpan(0, bytes.IndexOf((byte)0)));
        Assert.Equal(0, Control(master, SetWindowSize, [24, (ushort)columns, 0, 0]));

        // As long as it is open here, reading waits for the program; once nobody has it open, reading fails.
        var terminal = OpenFile(name, Flags);
        Assert.True(terminal >= 0, name);
        var reading = Task.Factory.StartNew(() => ReadToEnd(master), cancellation, TaskCreationOptions.LongRunning, TaskScheduler.Default);
        var redirected = Path.Combine(folder, $"redirected-{Interlocked.Increment(ref files)}");
        var script = $"[ -n \"$NO_COLOR\" ] || unset NO_COLOR; exec \"$0\" \"$@\" <\"$TERMINAL\" >\"$TERMINAL\" 2>\"$TERMINAL\" {redirection}";
        using var child = ChildProcess.StartBash(folder, script, arguments, new()
        {
            ["TERMINAL"] = name,
            ["REDIRECTED"] = redirected,
            ["TERM"] = environment.GetValueOrDefault("TERM", "xterm-256color"),
            ["NO_COLOR"] = environment.GetValueOrDefault("NO_COLOR", string.Empty),
        });
        await child.Finish();
        _ = Close(terminal);
        var text = await reading;
        _ = Close(master);
        return new TerminalRun(child.ExitCode, text, File.Exists(redirected) ? await File.ReadAllTextAsync(redirected, cancellation) : string.Empty);
    }

    private static string ReadToEnd(int master)
    {
        var all = new List<byte>();
        var buffer = new byte[4096];
        while (Read(master, buffer, buffer.Length) is > 0 and var count)
        {
            all.AddRange(buffer.AsSpan(0, (int)count));
        }

        return Encoding.UTF8.GetString([.. all]);
    }

    [LibraryImport("libc", EntryPoint = "posix_openpt")]
    private static partial int OpenMaster(int flags);

    [LibraryImport("libc", EntryPoint = "open", StringMarshalling = StringMarshalling.Utf8)]
    private static partial int OpenFile(string path, int flags);

    [LibraryImport("libc", EntryPoint = "grantpt")]
    private static partial int Grant(int master);

    [LibraryImport("libc", EntryPoint = "unlockpt")]
    private static partial int Unlock(int master);

    [LibraryImport("libc", EntryPoint = "ptsname_r")]
    private static partial int Name(int master, Span<byte> name, nint length);

    [LibraryImport("libc", EntryPoint = "ioctl")]
    private static partial int Control(int stream, nuint request, ReadOnlySpan<ushort> size);

    [LibraryImport("libc", EntryPoint = "read")]
    private static partial nint Read(int stream, Span<byte> buffer, nint count);

    [LibraryImport("libc", EntryPoint = "close")]
    private static partial int Close(int stream);
}
