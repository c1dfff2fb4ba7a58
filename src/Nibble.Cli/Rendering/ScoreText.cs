using System.Globalization;
using Nibble.Torch.Tasks;

namespace Nibble.Cli.Rendering;

/// <summary>Writes how well a model does its task.</summary>
internal static class ScoreText
{
    private const int Heading = 11;

    /// <summary>A measure, as people write it: shares in percent.</summary>
    public static string Value(TaskMetric metric) => metric.Name is "accuracy" or "F1"
        ? metric.Value.ToString("P2", CultureInfo.InvariantCulture)
        : metric.Value.ToString("F4", CultureInfo.InvariantCulture);

    /// <summary>Writes all measures, a line each.</summary>
    public static void Write(TextWriter output, TaskScore score)
    {
        var isText = score.Main.Name == LanguageModelling.Perplexity;
        foreach (var metric in score.Metrics)
        {
            var name = metric.Name == "Matthews correlation" ? "Matthews" : metric.Name;
            var loss = isText && score.Loss is { } nats ? string.Create(CultureInfo.InvariantCulture, $"   ({nats:F5} nats a token)") : string.Empty;
            output.WriteLine($"{name.PadRight(Heading)} {Value(metric)}{loss}");
        }

        if (!isText && score.Loss is { } mean)
        {
            output.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{"loss",-Heading} {mean:F5} nats a text"));
        }
    }
}
