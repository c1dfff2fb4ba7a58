using System.Text;
using Spectre.Console;

namespace Nibble.Cli.Rendering;

/// <summary>Lets Spectre.Console render to a writer. If it is not a terminal, lines have no limit.</summary>
internal sealed class WriterOutput(TextWriter writer) : IAnsiConsoleOutput
{
    private const int Unbounded = 10_000;

    private readonly StandardWriter? terminal = writer is StandardWriter { IsTerminal: true } standard ? standard : null;

    public TextWriter Writer => writer;

    public bool IsTerminal => terminal is not null;

    public int Width => terminal?.Columns ?? Unbounded;

    public int Height => Unbounded;

    /// <summary>A console that renders to a writer. Colours and bold are used only on a terminal that supports them, unless NO_COLOR is set.</summary>
    public static IAnsiConsole Console(TextWriter writer) => AnsiConsole.Create(new AnsiConsoleSettings
    {
        Out = new WriterOutput(writer),
        Ansi = writer is StandardWriter { CanRewrite: true } && string.IsNullOrEmpty(Environment.GetEnvironmentVariable("NO_COLOR"))
            ? AnsiSupport.Detect
            : AnsiSupport.No,

        // Enrichers would turn colours back on in the logs of some CI services.
        Enrichment = new ProfileEnrichment { UseDefaultEnrichers = false },
    });

    public void SetEncoding(Encoding encoding)
    {
    }
}
