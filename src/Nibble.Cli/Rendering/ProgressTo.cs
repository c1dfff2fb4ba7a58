namespace Nibble.Cli.Rendering;

/// <summary>Progress that goes to several displays.</summary>
internal sealed class ProgressTo(params IProgressLine[] displays) : IProgressLine
{
    public void Begin(string run)
    {
        foreach (var display in displays)
        {
            display.Begin(run);
        }
    }

    public void Say(string line)
    {
        foreach (var display in displays)
        {
            display.Say(line);
        }
    }

    public void Expect(Func<double> secondsLeft)
    {
        foreach (var display in displays)
        {
            display.Expect(secondsLeft);
        }
    }

    public void Report(RunProgress value)
    {
        foreach (var display in displays)
        {
            display.Report(value);
        }
    }
}
