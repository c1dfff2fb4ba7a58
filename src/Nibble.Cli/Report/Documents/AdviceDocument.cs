using System.Text.Json;
using Nibble.Recipes;
using Nibble.Models;
using Nibble.Planning;
using Nibble.Torch.Planning;

namespace Nibble.Cli.Report.Documents;

/// <summary>The document of <c>advise --json</c>.</summary>
internal sealed record AdviceDocument(
    string Schema,
    string CommandLine,
    string Model,
    string Task,
    long Parameters,
    long Bytes,
    string MayUse,
    string HeldOut,
    double? FloatLoss,
    AdvisedLoss? Control,
    string Headline,
    IReadOnlyList<string> Text,
    AdvisedOption? Recommendation,
    AdvisedOption? Nearest,
    IReadOnlyList<AdvisedOption> Options,
    IReadOnlyList<AdvisedWidth> Widths,
    IReadOnlyList<AdvisedLayer> Sensitivity,
    AdvisedProbe Probe,
    IReadOnlyList<CostRow> Costs)
{
    public const string CurrentSchema = "nibble.advise/2";

    /// <summary>The task of the model.</summary>
    public ModelTask TaskOf() => TaskConfig.TaskOf(Task) ?? throw new JsonException($"The task '{Task}' is unknown.");

    /// <summary>The unit of losses.</summary>
    public LossUnit Unit() => LossUnit.Of(TaskOf());

    /// <summary>Whether an option of <see cref="Options"/> is the recommended one.</summary>
    public bool Recommends(AdvisedOption option) => Recommendation is not null && ReferenceEquals(option, Options[0]);

    public static AdviceDocument Of(AdvisorResult result, AdviceRequest request)
    {
        var decision = result.Decision;
        return new AdviceDocument(
            CurrentSchema,
            request.CommandLine,
            request.Model,
            TaskConfig.NameOf(result.Task),
            result.Shape.Parameters,
            request.Bytes,
            AdviceText.MayUse(request),
            request.HeldOut,
            result.FloatLoss,
            result.Control is { } control ? AdvisedLoss.Of(control) : null,
            AdviceText.Headline(result),
            [.. AdviceText.Sentences(result, request)],
            decision.Recommended is { } option ? AdvisedOption.Of(option, []) : null,
            decision.Recommended is null ? AdvisedOption.Of(decision.RuledOut[0].Option, decision.RuledOut[0].Broken) : null,
            [.. decision.Ranked.Select(option => AdvisedOption.Of(option, [])),
                .. decision.RuledOut.Select(item => AdvisedOption.Of(item.Option, item.Broken))],
            [.. decision.Widths.Select(width => new AdvisedWidth(
                width.Bits, width.Verdict, width.Option.Name, width.UnusableWithoutTraining, AdviceText.About(width, result)))],
            [.. result.Sensitivity.Select(item => new AdvisedLayer(item.Layer, item.Change, item.Distance.Loss, item.Distance.Divergence))],
            new AdvisedProbe(
                result.ProbeSeconds, request.ProbeSeconds, result.Windows, result.Tokens, result.Threads, result.Machine.Flops, result.Machine.Efficiency,
                result.Machine.Bandwidth, result.Curves),
            result.Task == ModelTask.LanguageModelling
                ? CostTable.Of(result.Machine, [result.Shape, .. ModelShape.Known], [4], new QatSettings()).Rows : []);
    }
}

/// <summary>A predicted loss over the float model with its 90% interval, in the task's unit.</summary>
internal sealed record AdvisedLoss(double Value, double Low, double High)
{
    /// <summary>The loss as JSON can hold it: without a finite value it is unknown.</summary>
    public static AdvisedLoss Of(Estimate estimate) => new(Known(estimate.Value), Known(estimate.Low), Known(estimate.High));

    private static double Known(double value) => double.IsFinite(value) ? value : double.NaN;
}

/// <summary>An option, with the reasons that rule it out.</summary>
internal sealed record AdvisedOption(
    string Name, Method Method, string Recipe, int Bits, int Steps, AdvisedLoss Loss, AdvisedLoss Quantization, Evidence Evidence, double Seconds,
    long PeakBytes,
    long Bytes, long Tokens, string Command, bool Allowed, IReadOnlyList<string> Reasons)
{
    public static AdvisedOption Of(PlannedOption option, IReadOnlyList<Violation> broken) => new(
        option.Name, option.Method, option.Recipe.Name, option.Bits, option.Steps, AdvisedLoss.Of(option.Loss), AdvisedLoss.Of(option.Quantization),
        option.Evidence, option.Seconds, option.PeakBytes, option.Bytes, option.Tokens, option.Command, broken.Count == 0,
        [.. broken.Select(item => item.Reason)]);
}

/// <summary>The method that a width needs.</summary>
internal sealed record AdvisedWidth(int Bits, Verdict Verdict, string Option, bool UnusableWithoutTraining, string Text);

/// <summary>The effect of quantizing only one layer, in the task's unit.</summary>
internal sealed record AdvisedLayer(string Layer, string Change, double Loss, double Kl);

/// <summary>The work of the probe: seconds and their limit, windows (or texts) and tokens scored, threads, operations per second and the share of them that
/// complete runs reach, bytes per second, short trainings.</summary>
internal sealed record AdvisedProbe(
    double Seconds, double LimitSeconds, int Windows, long Tokens, int Threads, double Flops, double Efficiency, double Bandwidth,
    IReadOnlyList<ProbeCurve> Curves);
