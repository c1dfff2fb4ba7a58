using System.Runtime.InteropServices;
using System.Text;

namespace Nibble.Cli.Rendering;

/// <summary>Stdout or stderr of this process.</summary>
/// <remarks>
/// .NET's own writers do not report a closed pipe, and they end the process if stderr cannot be written to. If a program is started with a closed
/// standard stream, the first file it opens gets that number: one of the runtime's own pipes, which .NET would then write to. Inherited streams stay open
/// over exec, but the runtime's files do not.
/// </remarks>
internal sealed partial class StandardWriter : TextWriter
{
    private const int OutputNumber = 1;
    private const int ErrorNumber = 2;

    private readonly Lock gate = new();
    private readonly int number;
    private readonly Encoder encoder;
    private readonly Stream? stream;

    private StandardWriter(int number)
    {
        this.number = number;
        Encoding = System.Console.OutputEncoding is UTF8Encoding ? new UTF8Encoding(encoderShouldEmitUTF8Identifier: false) : System.Console.OutputEncoding;
        encoder = Encoding.GetEncoder();
        IsOpen = OperatingSystem.IsWindows() || IsInherited(number);
        IsTerminal = IsOpen && !(number == OutputNumber ? System.Console.IsOutputRedirected : System.Console.IsErrorRedirected);
        stream = !OperatingSystem.IsWindows() ? null : number == OutputNumber ? System.Console.OpenStandardOutput() : System.Console.OpenStandardError();
    }

    /// <summary>Stdout. A write error is a failure.</summary>
    public static StandardWriter Output { get; } = new(OutputNumber);

    /// <summary>Stderr. Write errors are ignored.</summary>
    public static StandardWriter Error { get; } = new(ErrorNumber);

    /// <inheritdoc/>
    public override Encoding Encoding { get; }

    /// <summary>Whether the process was started with this stream.</summary>
    public bool IsOpen { get; }

    /// <summary>Whether it is a terminal.</summary>
    public bool IsTerminal { get; }

    /// <summary>Whether it is a terminal that supports control characters.</summary>
    public bool CanRewrite => IsTerminal && Environment.GetEnvironmentVariable("TERM") != "dumb";

    /// <summary>The terminal's current width in characters.</summary>
    public int Columns => TerminalSize.Columns(number);

    /// <inheritdoc/>
    public override void Write(char value) => Write([value]);

    /// <inheritdoc/>
    public override void Write(char[] buffer, int index, int count) => Write(buffer.AsSpan(index, count));

    /// <inheritdoc/>
    public override void Write(string? value) => Write(value.AsSpan());

    /// <inheritdoc/>
    public override void Write(ReadOnlySpan<char> buffer)
    {
        lock (gate)
        {
            var bytes = new byte[encoder.GetByteCount(buffer, flush: false)];
            encoder.GetBytes(buffer, bytes, flush: false);
            if (Put(bytes) is { } failure && number == OutputNumber)
            {
                throw new NibbleException($"the result cannot be written to stdout: {failure}");
            }
        }
    }

    /// <summary>Writes a line. On a terminal, long lines are broken between words.</summary>
    public override void WriteLine(string? value) => Write((IsTerminal ? WordWrap.Break(value ?? string.Empty, Columns) : value) + NewLine);

    /// <inheritdoc/>
    public override void WriteLine(ReadOnlySpan<char> buffer) => WriteLine(buffer.ToString());

    /// <summary>Refuses to begin work if its result cannot be written.</summary>
    /// <exception cref="NibbleException">The process was started with stdout closed.</exception>
    public void RequireOpen()
    {
        if (!IsOpen)
        {
            throw new NibbleException("stdout is closed, but the result is written to it; redirect it to a file, or to /dev/null to discard the result");
        }
    }

    /// <summary>Writes all bytes.</summary>
    /// <returns>The error; null if all bytes were written.</returns>
    private string? Put(ReadOnlySpan<byte> bytes)
    {
        if (!IsOpen)
        {
            return "it is closed";
        }

        if (stream is not null)
        {
            try
            {
                stream.Write(bytes);
                return null;
            }
            catch (IOException exception)
            {
                return exception.Message;
            }
        }

        const int interrupted = 4;
        while (bytes.Length > 0)
        {
            var written = Write(number, bytes, bytes.Length);
            if (written >= 0)
            {
                bytes = bytes[(int)written..];
                continue;
            }

            var error = Marshal.GetLastPInvokeError();
            if (error == (OperatingSystem.IsMacOS() ? 35 : 11))
            {
                // Another program has made the stream non-blocking.
                Thread.Sleep(1);
            }
            else if (error != interrupted)
            {
                return Marshal.GetPInvokeErrorMessage(error);
            }
        }

        return null;
    }

    private static bool IsInherited(int number)
    {
        const int getFlags = 1;
        const int closesOnExec = 1;
        var flags = Control(number, getFlags);
        return flags >= 0 && (flags & closesOnExec) == 0;
    }

    [LibraryImport("libc", EntryPoint = "write", SetLastError = true)]
    private static partial nint Write(int number, ReadOnlySpan<byte> bytes, nint count);

    [LibraryImport("libc", EntryPoint = "fcntl")]
    private static partial int Control(int number, int command);
}
