using System.Diagnostics;
using System.Globalization;

namespace Nibble.Cli.Rendering;

/// <summary>Progress as one terminal line that is overwritten. The last line of a stage stays.</summary>
/// <remarks>It uses no control character except the carriage return, and does not hide the cursor.</remarks>
internal sealed class ProgressBar : ProgressDisplay
{
    private const int Longest = 40;
    private const int Shortest = 8;
    private const string Between = "  ";
    private static readonly TimeSpan Interval = TimeSpan.FromMilliseconds(100);

    private readonly TextWriter terminal;
    private readonly Func<int> columns;
    private readonly Timer clock;
    private string shown = string.Empty;
    private string label = string.Empty;
    private long drawn;

    /// <summary>Begins a display.</summary>
    /// <param name="terminal">The terminal to write to.</param>
    /// <param name="columns">The terminal's width, which can change.</param>
    public ProgressBar(TextWriter terminal, Func<int> columns)
    {
        this.terminal = terminal;
        this.columns = columns;

        // A step can take minutes, during which the remaining time must be updated.
        clock = new Timer(_ => Refresh(Draw), null, TimeSpan.FromSeconds(1), TimeSpan.FromSeconds(1));
    }

    protected override void Show(ProgressStage stage, bool isNew)
    {
        // Repeated stages, such as quantizing one recipe after another, share one line.
        if (isNew && stage.Label != label)
        {
            Leave();
            label = stage.Label;
        }

        if (isNew || stage.IsDone || Stopwatch.GetElapsedTime(drawn) >= Interval)
        {
            Draw(stage);
        }
    }

    protected override void Interrupt(string line)
    {
        var before = shown;
        Erase();
        terminal.WriteLine(line);
        Rewrite(before);
    }

    protected override void End()
    {
        clock.Dispose();
        Leave();
    }

    /// <summary>Composes a line of the parts that fit, in order of importance.</summary>
    internal static string Compose(ProgressStage stage, int width, string? total = null)
    {
        // Unknown values reserve their space, so that the layout does not change when they become known.
        const int soon = 10;
        var share = string.Create(CultureInfo.InvariantCulture, $"{Math.Floor(100 * stage.Share):F0} %");
        var left = width - stage.Name.Length;
        var count = Fits(stage.Count.Length);
        var time = count && Fits(stage.TimeLeft?.Length ?? soon);
        var whole = time && total is not null && Fits(total.Length);
        var speed = time && Fits(stage.Speed?.Length ?? soon);
        var run = speed && Fits(stage.Run.Length);
        var bar = run && Fits(Shortest) && Fits(share.Length);
        var losses = stage.Losses.TakeWhile(loss => bar && Fits(loss.Length)).ToList();
        var cells = Math.Clamp(Shortest + left, Shortest, Longest);
        var done = (int)(cells * stage.Share);
        string?[] parts =
        [
            run ? stage.Label : stage.Name,
            bar ? new string('━', done) + new string('─', cells - done) : null,
            bar ? share : null,
            count ? stage.Count : null,
            .. losses,
            speed ? stage.Speed : null,
            time ? stage.TimeLeft : null,
            whole ? total : null,
        ];
        var line = string.Join(Between, parts.OfType<string>());
        return line.Length > width ? line[..Math.Max(0, width)] : line;

        bool Fits(int length)
        {
            var fits = length + Between.Length <= left;
            left -= fits ? length + Between.Length : 0;
            return fits;
        }
    }

    private void Draw(ProgressStage stage)
    {
        // A character in the last column makes some terminals start a new line.
        Rewrite(Compose(stage, columns() - 1, TotalLeft));
        drawn = Stopwatch.GetTimestamp();
    }

    private void Rewrite(string line)
    {
        if (line != shown)
        {
            terminal.Write($"\r{line}{new string(' ', Math.Max(0, shown.Length - line.Length))}");
            shown = line;
        }
    }

    private void Erase()
    {
        terminal.Write($"\r{new string(' ', shown.Length)}\r");
        shown = string.Empty;
    }

    private void Leave()
    {
        if (shown.Length > 0)
        {
            terminal.Write(Environment.NewLine);
            shown = string.Empty;
        }
    }
}
