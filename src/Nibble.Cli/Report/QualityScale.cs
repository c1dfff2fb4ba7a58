using System.Globalization;
using Nibble.Models;
using Nibble.Planning;
using Nibble.Torch.Tasks;

namespace Nibble.Cli.Report;

/// <summary>The quality scale of a task: its main metric, its thresholds and its formats.</summary>
/// <remarks>
/// For language models, losses relative to the float model are in nats per token, which is a share of the perplexity. For other tasks, they are in points,
/// hundredths of the main metric, as is common in the field. In both cases, more is worse.
/// </remarks>
internal sealed class QualityScale
{
    /// <summary>The largest loss in points that counts as small.</summary>
    private const double SmallPoints = 0.5;

    /// <summary>The gain over PTQ in points that makes training worth its time.</summary>
    private const double PointsWorthTraining = 1;

    /// <summary>The largest loss in points of a usable variant.</summary>
    private const double UsablePoints = 5;

    private static readonly QualityScale OfText = new()
    {
        Name = LanguageModelling.Perplexity,
        Heading = LanguageModelling.Perplexity,
        LossUnit = "nats",
        DivergenceHeading = "KL",
        AgreementHeading = "agree",
        Pieces = "windows",
        Small = Thresholds.SmallLoss,
        WorthTraining = Thresholds.WorthTraining,
        Usable = Thresholds.UsableLoss,
    };

    private static readonly QualityScale OfClasses = InPoints(Classification.Accuracy, Classification.Accuracy, "texts", "KL", "agree");
    private static readonly QualityScale OfNumbers = InPoints("rank correlation", "Spearman", "texts", "sq. diff.", agreement: null);
    private static readonly QualityScale OfVectors = InPoints("rank correlation", "Spearman", "pairs", divergence: null, "cosine");

    /// <summary>The scale of multiple-choice and cloze questions.</summary>
    public static QualityScale OfQuestions { get; } =
        InPoints(Classification.Accuracy, Classification.Accuracy, "questions", divergence: null, "same answers");

    private QualityScale()
    {
    }

    /// <summary>The name of the main metric in sentences.</summary>
    public required string Name { get; init; }

    /// <summary>The name of the main metric in a column heading.</summary>
    public required string Heading { get; init; }

    /// <summary>The unit of losses.</summary>
    public required string LossUnit { get; init; }

    /// <summary>The column heading for the distance of predictions from the float model's; null if <see cref="AgreementHeading"/> is enough.</summary>
    public required string? DivergenceHeading { get; init; }

    /// <summary>The column heading for the agreement of answers with the float model's; null for regression.</summary>
    public required string? AgreementHeading { get; init; }

    /// <summary>The unit that is scored: windows, texts, pairs or questions.</summary>
    public required string Pieces { get; init; }

    /// <summary>The largest loss that counts as small.</summary>
    public required double Small { get; init; }

    /// <summary>The gain over PTQ, beyond that of training alone, that makes training worth its time.</summary>
    public required double WorthTraining { get; init; }

    /// <summary>The largest loss of a usable variant.</summary>
    public required double Usable { get; init; }

    /// <summary>Whether the prediction of text is scored.</summary>
    public bool IsText => this == OfText;

    /// <summary>Whether answers are right or wrong, so that their number has binomial noise.</summary>
    public bool CountsAnswers => this == OfClasses || this == OfQuestions;

    /// <summary>The scale of a task.</summary>
    public static QualityScale Of(ModelTask task) => task switch
    {
        ModelTask.LanguageModelling => OfText,
        ModelTask.Classification => OfClasses,
        ModelTask.Regression => OfNumbers,
        ModelTask.Embedding => OfVectors,
        _ => throw new ArgumentOutOfRangeException(nameof(task), task, null),
    };

    /// <summary>The loss of a variant relative to the float model.</summary>
    public double LossOf(TaskScore score, TaskScore reference) =>
        IsText ? score.Loss!.Value - reference.Loss!.Value : 100 * (reference.Main.Value - score.Main.Value);

    /// <summary>The value of the main metric.</summary>
    public string Value(double value) => this switch
    {
        { IsText: true } => Numbers.Perplexity(value),
        { CountsAnswers: true } => Numbers.Accuracy(value),
        _ => Numbers.Correlation(value),
    };

    /// <summary>A loss in a table, with its sign.</summary>
    public string Loss(double loss) => IsText ? Numbers.Loss(loss) : Numbers.Points(loss);

    /// <summary>The change of the metric for a loss, such as <c>+0.7%</c> of the perplexity or <c>-0.7 points</c> of accuracy.</summary>
    public string Change(double loss) => IsText ? Numbers.Change(loss) : $"{Numbers.Points(-loss)} points";

    /// <summary>A threshold in a sentence.</summary>
    public string Threshold(double loss) => IsText ? Numbers.Threshold(loss) : string.Create(CultureInfo.InvariantCulture, $"{loss:0.##} points");

    /// <summary>An agreement in a table.</summary>
    public string Agreement(double value) => this == OfVectors ? Numbers.Correlation(value) : Numbers.Share(value);

    private static QualityScale InPoints(string name, string heading, string pieces, string? divergence, string? agreement) => new()
    {
        Name = name,
        Heading = heading,
        LossUnit = "points",
        DivergenceHeading = divergence,
        AgreementHeading = agreement,
        Pieces = pieces,
        Small = SmallPoints,
        WorthTraining = PointsWorthTraining,
        Usable = UsablePoints,
    };
}
