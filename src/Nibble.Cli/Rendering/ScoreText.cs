using System.Globalization;
using Nibble.Torch.Tasks;

namespace Nibble.Cli.Rendering;

/// <summary>Writes the scores of a model.</summary>
internal static class ScoreText
{
    private const int Heading = 11;

    /// <summary>The value of a metric; shares are in percent.</summary>
    public static string Value(TaskMetric metric) => metric.Name is Classification.Accuracy or "F1"
        ? metric.Value.ToString("P2", CultureInfo.InvariantCulture)
        : metric.Value.ToString("F4", CultureInfo.InvariantCulture);

    /// <summary>The metrics by name, as in JSON documents.</summary>
    public static Dictionary<string, double> Document(TaskScore score) => score.Metrics.ToDictionary(metric => Key(metric.Name), metric => metric.Value);

    /// <summary>Writes all metrics, one per line.</summary>
    public static void Write(TextWriter output, TaskScore score)
    {
        var isText = score.Main.Name == LanguageModelling.Perplexity;
        foreach (var metric in score.Metrics)
        {
            var name = metric.Name == "Matthews correlation" ? "Matthews" : metric.Name;
            var loss = isText && score.Loss is { } nats ? string.Create(CultureInfo.InvariantCulture, $"   ({nats:F5} nats per token)") : string.Empty;
            output.WriteLine($"{name.PadRight(Heading)} {Value(metric)}{loss}");
        }

        // The loss of a regression is its squared error, which is already a metric.
        if (score.Main.Name == Classification.Accuracy && score.Loss is { } mean)
        {
            output.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{"loss",-Heading} {mean:F5} nats per text"));
        }
    }

    // "Matthews correlation" becomes matthewsCorrelation.
    private static string Key(string name)
    {
        var words = name.Split(' ');
        return words[0].ToLowerInvariant() + string.Concat(words.Skip(1).Select(word => char.ToUpperInvariant(word[0]) + word[1..]));
    }
}
