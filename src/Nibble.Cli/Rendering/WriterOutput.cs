using System.Text;
using Spectre.Console;

namespace Nibble.Cli.Rendering;

/// <summary>Lets Spectre.Console render into a writer; where that is no terminal, lines are as long as they have to be.</summary>
internal sealed class WriterOutput(TextWriter writer) : IAnsiConsoleOutput
{
    private const int Unbounded = 10_000;

    private readonly StandardWriter? terminal = writer is StandardWriter { IsTerminal: true } standard ? standard : null;

    public TextWriter Writer => writer;

    public bool IsTerminal => terminal is not null;

    public int Width => terminal?.Columns ?? Unbounded;

    public int Height => Unbounded;

    /// <summary>A console that renders into a writer, with colours and bold type only on a terminal that has them and whose user wants them.</summary>
    public static IAnsiConsole Console(TextWriter writer) => AnsiConsole.Create(new AnsiConsoleSettings
    {
        Out = new WriterOutput(writer),
        Ansi = writer is StandardWriter { CanRewrite: true } && string.IsNullOrEmpty(Environment.GetEnvironmentVariable("NO_COLOR"))
            ? AnsiSupport.Detect
            : AnsiSupport.No,

        // They would bring colours back into the logs of some services.
        Enrichment = new ProfileEnrichment { UseDefaultEnrichers = false },
    });

    public void SetEncoding(Encoding encoding)
    {
    }
}
