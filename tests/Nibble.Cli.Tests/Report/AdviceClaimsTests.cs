using Nibble.Recipes;
using System.Text.RegularExpressions;
using Nibble.Cli.Report;
using Nibble.Planning;
using static Nibble.Cli.Tests.Report.FakeComparison;

namespace Nibble.Cli.Tests.Report;

/// <summary>Every sentence of an advice is held against the numbers that it is made from, over a grid of outcomes.</summary>
public sealed partial class AdviceClaimsTests
{
    private static readonly double?[] PtqLosses = [-0.001, 0.005, 0.03, 0.1, 0.222, 0.225, 0.3, 4, double.NaN];
    private static readonly double?[] QatLosses = [-0.3, -0.03, 0.004, 0.025, 0.05, 0.11, 0.222, 0.25, 0.6, double.NaN];
    private static readonly double?[] ControlLosses = [null, -0.4, -0.1, -0.012, -0.0001, 0, 0.2, double.NaN];
    private static readonly double?[] HybridLosses = [null, 0.05, 0.2, double.NaN];

    private static readonly Dictionary<Method, ComparisonRun> Models =
        new[] { Method.Ptq, Method.Qat, Method.Hybrid }.ToDictionary(method => method, method => Run(method, 4, 0));

    private static readonly double Small = Thresholds.SmallLoss;
    private static readonly double Usable = Thresholds.UsableLoss;
    private static readonly double Worth = Thresholds.WorthTraining;

    /// <summary>What a sentence may say, and when that is true. A sentence that says none of this fails the test.</summary>
    private static readonly (Regex Words, Func<Outcome, bool> Holds)[] Claims =
    [
        Claim("PTQ gives perplexity .* within the 1% that counts as a small loss", o => o.Ptq <= Small),
        Claim("^QAT gives no finite perplexity", o => !double.IsFinite(o.Qat)),
        Claim("^PTQ gives (perplexity|no finite)", o => true),
        Claim("^QAT gives perplexity", o => double.IsFinite(o.Qat)),
        Claim("The hybrid .* gives (perplexity|no finite)", o => o.Hybrid is not null),
        Claim("better than PTQ or QAT alone", o => !(o.Hybrid >= o.Ptq) && !(o.Hybrid >= o.Qat)),
        Claim("within 2% of QAT in at most half the time", o => o.Hybrid <= o.Qat + Worth && o.HybridSeconds <= o.QatSeconds / 2),
        Claim("Both lose more than 25%", o => !(o.Ptq <= Usable) && !(o.Qat <= Usable)),
        Claim(@"^The model goes from .* \((\d.*× smaller|\d.*× larger|the same size)\)", o => true),
        Claim("× smaller", o => o.Bytes < 1_056_768),
        Claim("× larger", o => o.Bytes > 1_056_768),
        Claim("which is better than PTQ by more than the extra training explains", o => o.Control is not null && o.Ptq - o.Qat > o.TrainingGain + Worth),
        Claim("which is better than PTQ: use it", o => o.Control is null && o.Ptq - o.Qat > Worth),
        Claim("^Without a float control", o => o.Control is null),
        Claim("the gain comes from more training, not from better quantization", o => o.Ptq - o.Qat > Worth && o.Ptq - o.Qat - o.TrainingGain <= Worth && o.TrainingGain > 0),
        Claim("better than PTQ, but by less than the float control gains", o => o.Qat < o.Ptq && o.Ptq - o.Qat < o.TrainingGain),
        Claim("worse than PTQ:", o => o.Qat > o.Ptq),
        Claim("worse than PTQ without the gain of more training", o => o.Qat + o.TrainingGain > o.Ptq && o.TrainingGain > 0),
        Claim("within 2% of PTQ: either method works", o => Math.Abs(o.Ptq - o.Qat) <= Worth && o.QatSeconds < o.PtqSeconds),
        Claim("within 2% of PTQ: QAT is not worth its time", o => Math.Abs(o.Ptq - o.Qat) <= Worth && o.QatSeconds >= o.PtqSeconds),
        Claim("^QAT takes .*× as long and reaches", o => double.IsFinite(o.Qat)),
        Claim("^That is .*× as long as PTQ, which took", o => true),
        Claim("Most of its gain over PTQ comes from more training", o => o.TrainingGain > (o.Ptq - o.Qat) / 2),
        Claim("The two are close: PTQ loses slightly more", o => o.Ptq > Usable && o.Qat <= Usable && o.Ptq - o.Qat <= 2 * Worth),

        Claim("^No recommended variant stays within 1%", o => !(o.Ptq <= Small)),
        Claim("^The smallest recommended variant within 1% of the float model", o => o.Ptq <= Small || o.Qat <= Small || o.Hybrid <= Small),
        Claim("^The smallest recommended variant within 1% of the float control",
            o => o.TrainingGain > 0 && (o.Qat + o.TrainingGain <= Small || o.Hybrid + o.TrainingGain <= Small)),
        Claim("^The smallest usable variant, which loses at most 25%", o => o.Ptq <= Usable || o.Qat <= Usable || o.Hybrid <= Usable),
        Claim("so part of QAT's gain may come from more training", o => o.Control is null && o.Qat < o.Ptq),
        Claim("so the effect of more training alone is unknown", o => o.Control is null),
        Claim("gives no finite perplexity, so QAT is compared with the original model", o => o.Control is { } loss && !double.IsFinite(loss)),
        Claim("so QAT is compared with the control", o => o.TrainingGain > 0),
        Claim("^The float control.* does not improve on the original", o => o.Control >= 0),
        Claim("so QAT's gain over PTQ at 4 bits comes from training with quantization", o => o.Qat < o.Ptq && o.Control >= 0),
        Claim("^QAT took .* as long as PTQ", o => true),
    ];

    [Fact]
    public void EverySentenceFollowsFromTheNumbers()
    {
        var seen = new HashSet<string>();
        foreach (var outcome in Grid())
        {
            List<ComparisonRun> runs = [Timed(Method.Ptq, outcome.Ptq, outcome.PtqSeconds), Timed(Method.Qat, outcome.Qat, outcome.QatSeconds)];
            if (outcome.Control is { } control)
            {
                runs.Insert(0, Control(control));
            }

            if (outcome.Hybrid is { } hybrid)
            {
                runs.Add(Timed(Method.Hybrid, hybrid, outcome.HybridSeconds));
            }

            var advice = Advice.For(Of(runs));
            var width = Assert.Single(advice.Widths);
            foreach (var sentence in SentenceEnd.Split($"{width.Text} {advice.Summary}"))
            {
                var claims = Claims.Where(claim => claim.Words.IsMatch(sentence)).ToList();
                Assert.True(claims.Count > 0, $"no rule for: {sentence}");
                claims.ForEach(claim => Assert.True(claim.Holds(outcome), $"{outcome}: {sentence}"));
                seen.UnionWith(claims.Select(claim => claim.Words.ToString()));
            }

            Assert.True(
                width.Method switch
                {
                    Method.Ptq => outcome.Ptq <= Usable,
                    Method.Qat => outcome.Qat <= Usable,
                    Method.Hybrid => outcome.Hybrid <= Usable,
                    _ => !(outcome.Ptq <= Usable) && !(outcome.Qat <= Usable) && !(outcome.Hybrid <= Usable),
                },
                $"{outcome}: {width.Method}");

            ComparisonRun Timed(Method method, double loss, double seconds) =>
                Models[method] with { LossDifference = loss, Quality = FloatPerplexity * Math.Exp(loss), Seconds = seconds, Bytes = outcome.Bytes };
        }

        Assert.Empty(Claims.Select(claim => claim.Words.ToString()).Except(seen));
    }

    private static IEnumerable<Outcome> Grid() =>
        from ptq in PtqLosses
        from qat in QatLosses
        from control in ControlLosses
        from hybrid in HybridLosses
        from slow in (bool[])[false, true]
        select new Outcome(ptq!.Value, qat!.Value, control, hybrid, slow ? 100 : 1, 50, hybrid is 0.05 ? 10 : 40, slow ? 1_300_000 : 245_000);

    private static (Regex Words, Func<Outcome, bool> Holds) Claim(string words, Func<Outcome, bool> holds) =>
        (new Regex(words, RegexOptions.CultureInvariant | RegexOptions.Compiled), holds);

    [GeneratedRegex(@"(?<=\.) (?=[A-Z])")]
    private static partial Regex SentenceEnd { get; }

    /// <summary>Losses over the float model in nats, times in seconds.</summary>
    private sealed record Outcome(
        double Ptq, double Qat, double? Control, double? Hybrid, double PtqSeconds, double QatSeconds, double HybridSeconds, long Bytes)
    {
        public double TrainingGain => Control is { } loss && double.IsFinite(loss) ? Math.Max(0, -loss) : 0;
    }
}
