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
    AdvisedProbe Probe)
{
    public const string CurrentSchema = "nibble.advise/2";

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
            new AdvisedProbe(result.ProbeSeconds, result.Windows, result.Tokens, result.Threads, result.Machine.Flops, result.Machine.Bandwidth,
                result.Curves));
    }
}

/// <summary>A predicted loss over the float model with its 90% interval, in the task's unit.</summary>
internal sealed record AdvisedLoss(double Value, double Low, double High)
{
    public static AdvisedLoss Of(Estimate estimate) => new(estimate.Value, estimate.Low, estimate.High);
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

/// <summary>The work of the probe: seconds, windows (or texts) and tokens scored, threads, operations and bytes per second, short trainings.</summary>
internal sealed record AdvisedProbe(double Seconds, int Windows, long Tokens, int Threads, double Flops, double Bandwidth, IReadOnlyList<ProbeCurve> Curves);
