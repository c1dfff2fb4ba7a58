using System.Globalization;
using Nibble.Models;
using Nibble.Planning;
using Nibble.Torch.Tasks;

namespace Nibble.Cli.Report;

/// <summary>How well a model does its task, as a comparison measures, weighs and writes it.</summary>
/// <remarks>
/// What a variant loses to the float model is counted in nats a token where tokens are predicted, which is a share of the perplexity; otherwise in points,
/// hundredths of the measure that counts, as tables of this field have it. Either way more is worse.
/// </remarks>
internal sealed class QualityScale
{
    /// <summary>Points up to which a variant is as good as float.</summary>
    private const double SmallPoints = 0.5;

    /// <summary>Points that training must win over PTQ to be worth its time.</summary>
    private const double PointsWorthTraining = 1;

    /// <summary>Points from which a variant is not usable.</summary>
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

    private QualityScale()
    {
    }

    /// <summary>The measure that counts, in sentences.</summary>
    public required string Name { get; init; }

    /// <summary>The same at the head of a column.</summary>
    public required string Heading { get; init; }

    /// <summary>What losses are counted in.</summary>
    public required string LossUnit { get; init; }

    /// <summary>How far predictions are from the float model's, at the head of a column; null where <see cref="AgreementHeading"/> says it all.</summary>
    public required string? DivergenceHeading { get; init; }

    /// <summary>How alike answers are to the float model's, at the head of a column; null where answers are numbers.</summary>
    public required string? AgreementHeading { get; init; }

    /// <summary>What is scored one by one.</summary>
    public required string Pieces { get; init; }

    /// <summary>The loss up to which a variant is as good as float.</summary>
    public required double Small { get; init; }

    /// <summary>What training must win over PTQ, beyond what training alone gains, to be worth its time.</summary>
    public required double WorthTraining { get; init; }

    /// <summary>The loss from which a variant is not usable.</summary>
    public required double Usable { get; init; }

    /// <summary>Whether tokens are predicted.</summary>
    public bool IsText => this == OfText;

    /// <summary>Whether answers are right or wrong, so that they scatter as coins do.</summary>
    public bool CountsAnswers => this == OfClasses;

    /// <summary>The scale of a task.</summary>
    public static QualityScale Of(ModelTask task) => task switch
    {
        ModelTask.LanguageModelling => OfText,
        ModelTask.Classification => OfClasses,
        ModelTask.Regression => OfNumbers,
        ModelTask.Embedding => OfVectors,
        _ => throw new ArgumentOutOfRangeException(nameof(task), task, null),
    };

    /// <summary>What a variant loses to the float model.</summary>
    public double LossOf(TaskScore score, TaskScore reference) =>
        IsText ? score.Loss!.Value - reference.Loss!.Value : 100 * (reference.Main.Value - score.Main.Value);

    /// <summary>The measure that counts.</summary>
    public string Value(double value) => this switch
    {
        { IsText: true } => Numbers.Perplexity(value),
        { CountsAnswers: true } => Numbers.Accuracy(value),
        _ => Numbers.Correlation(value),
    };

    /// <summary>A loss in a table, with its sign.</summary>
    public string Loss(double loss) => IsText ? Numbers.Loss(loss) : Numbers.Points(loss);

    /// <summary>What a loss does to the measure, such as <c>+0.7%</c> of the perplexity or <c>-0.7 points</c> of accuracy.</summary>
    public string Change(double loss) => IsText ? Numbers.Change(loss) : $"{Numbers.Points(-loss)} points";

    /// <summary>A threshold, as it stands in sentences.</summary>
    public string Threshold(double loss) => IsText ? Numbers.Threshold(loss) : string.Create(CultureInfo.InvariantCulture, $"{loss:0.##} points");

    /// <summary>How alike answers are, in a table.</summary>
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
