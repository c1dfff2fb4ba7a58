using Nibble.Models;
using System.Globalization;
using System.Text.RegularExpressions;
using Nibble.Cli.Report;
using Nibble.Planning;
using Nibble.Recipes;
using Nibble.Torch.Planning;

namespace Nibble.Cli.Tests.Report;

/// <summary>Every sentence that advise prints is held against the table beside it, over a grid of outcomes.</summary>
public sealed partial class AdviceTextClaimsTests
{
    private const double Tolerance = 0.01;
    private static readonly double Usable = Thresholds.UsableLoss;

    /// <summary>What a sentence may say, and when that is true. A sentence that says none of this fails the test.</summary>
    private static readonly (Regex Words, Func<Outcome, Match, bool> Holds)[] Claims =
    [
        Claim("^Not usable at 4 bits: ", o => o.Option.Loss.Value > Usable && !o.Option.Trains && o.Qat is not null),
        Claim("^Not usable at 4 bits, even with training: ", o => o.Option.Loss.Value > Usable && o.Option.Trains),
        Claim("^Not usable at 4 bits without training: .* loses", o => o.Option.Loss.Value > Usable && o.Qat is null),
        Claim(@"loses least[.;]", o => o.Result.Options.All(other => !(other.Loss.Value < o.Option.Loss.Value))),
        Claim("loses least without training",
            o => !o.Option.Trains && o.Result.Options.All(other => other.Trains || !(other.Loss.Value < o.Option.Loss.Value))),
        Claim("^PTQ is probably enough: .* no time to try it",
            o => !o.Option.Trains && o.Option.Evidence == Evidence.Typical && o.Option.Loss.Value <= Tolerance),
        Claim("^PTQ is enough: ", o => !o.Option.Trains && o.Option.Evidence == Evidence.Measured && o.Option.Loss.Value <= Tolerance),
        Claim("^Use PTQ with .* no time to try training", o => o.Qat?.Evidence == Evidence.Typical && !o.Option.Trains),
        Claim("^Use PTQ with .*: training would gain too little", o => o.Qat is { Evidence: not Evidence.Typical } && !o.Option.Trains),
        Claim("^Use PTQ with .*: training would improve the float model just as much", o => o.TrainingGain > 0 && o.Qat!.Loss.Value < o.Option.Loss.Value && !o.Option.Trains),
        Claim("is the best allowed option", o => o.Qat is null),
        Claim("^Train: qat", o => o.Option.Trains && o.Option.Loss.Value <= Usable),

        Claim("was measured:", o => o.Option.Evidence == Evidence.Measured),
        Claim("is predicted from shorter trainings:", o => o.Option.Evidence == Evidence.Extrapolated),
        Claim("was not tried; typical values:", o => o.Option.Evidence == Evidence.Typical),
        Claim("^No allowed option stays within 1%", o => o.Result.Options.All(other => !(other.Loss.Value <= Tolerance))),
        Claim("^qat .* stays within 1% of float,", o => o.Qat!.Loss.Value <= Tolerance),
        Claim("may stay within 1% of float, but was not tried",
            o => o.Result.Options.Any(other => other.Evidence == Evidence.Typical && other.Loss.Value <= Tolerance)),

        Claim("was not tried, but should stay within the acceptable loss",
            o => o.Width.Ptq!.Evidence == Evidence.Typical && o.Width.Ptq.Loss.Value <= Tolerance),
        Claim("stays within the acceptable loss", o => o.Width.Ptq!.Evidence == Evidence.Measured && o.Width.Ptq.Loss.Value <= Tolerance),
        Claim("no option with training is allowed", o => o.Qat is null),
        Claim("would gain nothing over", o => !(o.Width.Trained!.Loss.Value < o.Width.Ptq!.Loss.Value)),
        Claim("(lowers|would lower) the loss of .* by (?<nats>[0-9.]+) nats", (o, m) => Near(m, o.Width.Ptq!.Loss.Value - o.Width.Trained!.Loss.Value)),
        Claim("(?<nats>[0-9.]+) nats more than training the float model alone gains",
            (o, m) => o.TrainingGain > 0 && Near(m, o.QuantizationGain)),
        Claim("training the float model alone gains (?<nats>[0-9.]+) nats of that", (o, m) => Near(m, o.TrainingGain)),
        Claim("but training the float model alone gains just as much", o => o.TrainingGain >= o.Width.Ptq!.Loss.Value - o.Width.Trained!.Loss.Value - 1e-4),
        Claim(@"too little to be worth the time\.", o => o.QuantizationGain <= Thresholds.WorthTraining),
        Claim("within the uncertainty of the prediction", o => o.QuantizationGain <= o.Width.Trained!.Quantization.StandardError),
        Claim("a small gain, but only training is usable", o => o.Width.Ptq!.Loss.Value > Usable && o.Width.Trained!.Loss.Value <= Usable),
        Claim("would do about as well", o => o.TrainingGain > o.QuantizationGain),
        Claim("^4 bits: ptq .* has an unknown loss, qat .* has|^4 bits: ptq .* has an unknown loss, qat", o => !double.IsFinite(o.Width.Ptq!.Loss.Value)),
        Claim("has an unknown loss, so there is no reason to use it", o => !double.IsFinite(o.Width.Trained!.Loss.Value)),
        Claim(@"^Not usable at 4 bits without training: PTQ has \+", o => o.Width.Ptq!.Loss.Value > Usable),
        Claim("^Not usable at 4 bits without training: PTQ has an unknown loss", o => double.IsPositiveInfinity(o.Width.Ptq!.Loss.Value)),
        Claim("^Training .* still more than the limit of 25% for a usable model", o => o.Qat!.Loss.Value > Usable),
        Claim("QAT is compared with that", o => o.TrainingGain > 0),
        Claim("^Training the float model equally long without quantization does not improve it", o => o.Control?.Value >= 0),
        Claim("QAT's gain over PTQ does not come from more training", o => o.Qat!.Loss.Value < o.Width.Ptq!.Loss.Value),
    ];

    [Fact]
    public void EverySentenceFollowsFromTheTable()
    {
        var seen = new HashSet<string>();
        foreach (var outcome in Grid())
        {
            var request = new AdviceRequest("model", 1_000_000, "text", "text", new Constraints(), 60, "nibble advise");
            foreach (var sentence in new[] { AdviceText.Headline(outcome.Result) }.Concat(AdviceText.Sentences(outcome.Result, request))
                .SelectMany(text => SentenceEnd.Split(text)))
            {
                var claims = Claims.Select(claim => (claim, Match: claim.Words.Match(sentence))).Where(claim => claim.Match.Success).ToList();
                Assert.True(claims.Count > 0, $"no rule for: {sentence}");
                claims.ForEach(claim => Assert.True(claim.claim.Holds(outcome, claim.Match), $"{outcome}: {sentence}"));
                seen.UnionWith(claims.Select(claim => claim.claim.Words.ToString()));
            }
        }

        Assert.Empty(Claims.Select(claim => claim.Words.ToString()).Except(seen));
    }

    private static IEnumerable<Outcome> Grid() =>
        from ptq in (double[])[-0.001, 0.005, 0.03, 0.1, 0.222, 0.225, 0.3, 4, double.PositiveInfinity]
        from qat in (double?[])[null, -0.3, -0.03, 0.004, 0.025, 0.09, 0.222, 0.25, 0.6, double.PositiveInfinity]
        from control in (double?[])[null, -0.4, -0.1, -0.012, 0, 0.2]
        where qat is not null || control is null
        from half in (double[])[0, 0.1]
        from evidence in (Evidence[])[Evidence.Measured, Evidence.Extrapolated, Evidence.Typical]
        from untried in (double?[])[null, 0.002, 0.05]
        from tried in (bool[])[true, false]
        select new Outcome(ptq, qat, control, half, evidence, untried, tried);

    private static bool Near(Match match, double nats) => Math.Abs(double.Parse(match.Groups["nats"].Value, CultureInfo.InvariantCulture) - nats) < 6e-5;

    private static (Regex Words, Func<Outcome, Match, bool> Holds) Claim(string words, Func<Outcome, bool> holds) =>
        Claim(words, (outcome, _) => holds(outcome));

    private static (Regex Words, Func<Outcome, Match, bool> Holds) Claim(string words, Func<Outcome, Match, bool> holds) =>
        (new Regex(words, RegexOptions.CultureInvariant | RegexOptions.Compiled), holds);

    [GeneratedRegex(@"(?<=\.) (?=[A-Z])")]
    private static partial Regex SentenceEnd { get; }

    private sealed class Outcome
    {
        private readonly string described;

        public Outcome(double ptq, double? qat, double? control, double half, Evidence evidence, double? untried, bool tried)
        {
            described = $"ptq {ptq} {(tried ? "" : "un")}tried, qat {qat} +- {half} {evidence}, control {control}, untried {untried}";
            Control = control is { } trained ? Estimate.Around(trained, 0) : null;
            List<PlannedOption> options = [Plan(Method.Ptq, "ptq w4a16-g32", ptq, 0, 0, tried ? Evidence.Measured : Evidence.Typical)];
            if (untried is { } other)
            {
                options.Add(Plan(Method.Ptq, "ptq w4a16-g32-gptaq", other, 0, 0.004, Evidence.Typical));
            }

            if (qat is { } loss)
            {
                options.Add(Qat = Plan(Method.Qat, "qat w4a16-g32", loss, Math.Max(0, -(control ?? 0)), half, evidence));
            }

            Result = new AdvisorResult(
                ModelShape.Known[0], 1.5, 4, 1000, Control, options, Decision.Of(options, new Constraints(), Tolerance), [], [], 1, new Hardware(1, 1), 1)
            {
                Limits = LossLimits.For(null, 0) with { Small = Tolerance },
            };
        }

        public AdvisorResult Result { get; }

        public Estimate? Control { get; }

        public PlannedOption? Qat { get; }

        public PlannedOption Option => Result.Decision.Recommended!;

        public WidthDecision Width => Assert.Single(Result.Decision.Widths);

        public double TrainingGain => Math.Max(0, -(Control?.Value ?? 0));

        public double QuantizationGain => Width.Ptq!.Quantization.Value - Width.Trained!.Quantization.Value;

        public override string ToString() => described;

        private static PlannedOption Plan(Method method, string name, double loss, double gain, double half, Evidence evidence) => new()
        {
            Name = name,
            Method = method,
            Recipe = RecipePresets.Parse(name.Split(' ')[1]),
            Bits = 4,
            Loss = Estimate.Around(loss, half),
            Quantization = Estimate.Around(loss + gain, half),
            Evidence = evidence,
            Seconds = 1,
            PeakBytes = 1,
            Bytes = 1,
            Tokens = 0,
            NeedsData = true,
            Command = "nibble",
        };
    }
}
