using System.Diagnostics;
using System.Globalization;
using System.Text;
using Nibble.Torch;
using Spectre.Console;

namespace Nibble.Cli.Rendering;

/// <summary>Progress whose stages belong to named runs.</summary>
internal interface IProgressLine : IProgress<RunProgress>
{
    /// <summary>Names the run that the next stages belong to.</summary>
    void Begin(string run);
}

/// <summary>Shows long work on stderr: live bars on a terminal, a line now and then elsewhere.</summary>
internal static class ProgressDisplay
{
    public static T Run<T>(TextWriter error, Func<IProgressLine, T> work)
    {
        if (System.Console.IsErrorRedirected || !ReferenceEquals(error, System.Console.Error))
        {
            return work(new LogLines(error));
        }

        var console = AnsiConsole.Create(new AnsiConsoleSettings { Out = new WriterOutput(error, redirected: false) });
        return console.Progress()
            .AutoClear(false)
            .HideCompleted(false)
            .Columns(new TaskDescriptionColumn { Alignment = Justify.Left }, new ProgressBarColumn(), new PercentageColumn(), new RemainingTimeColumn())
            .Start(context => work(new Bars(context)));
    }

    private static string Describe(string run, RunProgress value, double rate)
    {
        var line = new StringBuilder(run.Length > 0 ? run + ": " : string.Empty).Append(CultureInfo.InvariantCulture, $"{value.Stage} {value.Done}/{value.Total}");
        if (value.Loss is { } loss)
        {
            line.Append(CultureInfo.InvariantCulture, $" loss {loss:F3}");
        }

        if (value.Perplexity is { } perplexity)
        {
            line.Append(CultureInfo.InvariantCulture, $", perplexity {perplexity:F2}");
        }

        if (value.HeldOutLoss is { } heldOut)
        {
            line.Append(CultureInfo.InvariantCulture, $", held out {heldOut:F3}");
        }

        return (value.Tokens > 0 ? line.Append(CultureInfo.InvariantCulture, $", {rate * value.Tokens:F0} tokens/s") : line.Append(CultureInfo.InvariantCulture, $" {rate:F1}/s")).ToString();
    }

    /// <summary>Units a second of the running stage.</summary>
    private struct Rate
    {
        private string? stage;
        private long start;
        private long first;

        /// <summary>Whether the value begins a stage.</summary>
        public bool Enter(string run, RunProgress value)
        {
            if (stage == run + value.Stage && value.Done > first)
            {
                return false;
            }

            stage = run + value.Stage;
            first = value.Done;
            start = Stopwatch.GetTimestamp();
            return true;
        }

        /// <summary>Measured from the first unit's end, so that neither warming up counts nor what a run before has done.</summary>
        public readonly double Of(RunProgress value)
        {
            var seconds = Stopwatch.GetElapsedTime(start).TotalSeconds;
            return value.Done > first && seconds > 0 ? (value.Done - first) / seconds : 0;
        }
    }

    private sealed class Bars(ProgressContext context) : IProgressLine
    {
        private string run = string.Empty;
        private Rate rate;
        private ProgressTask? task;

        public void Begin(string run) => this.run = run;

        public void Report(RunProgress value)
        {
            if (rate.Enter(run, value))
            {
                task = context.AddTask(string.Empty, maxValue: value.Total);
            }

            task!.Description = Markup.Escape(Describe(run, value, rate.Of(value)));
            task.Value = value.Done;
        }
    }

    private sealed class LogLines(TextWriter error) : IProgressLine
    {
        private static readonly TimeSpan Interval = TimeSpan.FromSeconds(5);
        private string run = string.Empty;
        private Rate rate;
        private long last;

        public void Begin(string run) => this.run = run;

        public void Report(RunProgress value)
        {
            rate.Enter(run, value);
            if (value.Done < value.Total && last != 0 && Stopwatch.GetElapsedTime(last) < Interval)
            {
                return;
            }

            last = Stopwatch.GetTimestamp();
            var line = new StringBuilder(Describe(run, value, rate.Of(value)));
            if (value.Done < value.Total && rate.Of(value) is > 0 and var speed)
            {
                line.Append(CultureInfo.InvariantCulture, $", {(value.Total - value.Done) / speed:F0} s left");
            }

            error.WriteLine(line);
        }
    }
}
