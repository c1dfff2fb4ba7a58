using System.Globalization;
using Nibble.Models;
using Nibble.Planning;

namespace Nibble.Cli.Report;

/// <summary>Formats losses of a task and the data they were measured on.</summary>
internal static class TaskText
{
    /// <summary>A loss over float with its unit, such as <c>+0.0129 nats</c>.</summary>
    public static string Write(this LossUnit unit, double loss) => $"{Numbers.Loss(loss)} {unit.Amount}";

    /// <summary>A predicted loss with its interval, such as <c>+0.0129 nats (+1.3%; -0.0010 to +0.0270)</c>. The percentage is of the perplexity.</summary>
    public static string Write(this LossUnit unit, Estimate loss)
    {
        var share = unit.HasPerplexity ? Numbers.Change(loss.Value) + "; " : string.Empty;
        return double.IsFinite(loss.Value) ? $"{unit.Write(loss.Value)} ({share}{Numbers.Loss(loss.Low)} to {Numbers.Loss(loss.High)})" : "an unknown loss";
    }

    /// <summary>A limit, such as <c>1%</c> if there is a perplexity, otherwise <c>0.01 nats</c>.</summary>
    public static string Limit(this LossUnit unit, double loss) =>
        unit.HasPerplexity ? Numbers.Threshold(loss) : $"{loss.ToString("G3", CultureInfo.InvariantCulture)} {unit.Amount}";

    /// <summary>The amount of data, such as <c>32 windows of 512 tokens</c>, <c>1,000 texts</c> or, if a line contains one or two texts,
    /// <c>1,000 lines</c>.</summary>
    /// <param name="task">The task.</param>
    /// <param name="count">The number of windows, texts or lines.</param>
    /// <param name="context">Tokens per window; null for texts.</param>
    public static string Pieces(ModelTask task, int count, int? context) => context is { } length
        ? $"{Numbers.Count(count)} windows of {Numbers.Plain(length)} tokens"
        : $"{Numbers.Count(count)} {(task == ModelTask.Embedding ? "lines" : "texts")}";
}
