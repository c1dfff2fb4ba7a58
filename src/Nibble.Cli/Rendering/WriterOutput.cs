using System.Text;
using Spectre.Console;

namespace Nibble.Cli.Rendering;

/// <summary>Lets Spectre.Console render into an injected writer.</summary>
internal sealed class WriterOutput(TextWriter writer, bool redirected) : IAnsiConsoleOutput
{
    private const int RedirectedWidth = 160;

    public TextWriter Writer => writer;

    public bool IsTerminal => !redirected;

    public int Width => redirected ? RedirectedWidth : Math.Max(40, Console.WindowWidth);

    public int Height => redirected ? 1000 : Math.Max(10, Console.WindowHeight);

    public void SetEncoding(Encoding encoding)
    {
    }
}
