using System.Globalization;
using Nibble.Numerics;

namespace Nibble.Recipes;

/// <summary>Finds the parts of a recipe that have no effect on a model, and settings that make the result worse than the user may expect.</summary>
internal static class RecipeCheck
{
    /// <summary>With more passes over the same data than this, a model overfits.</summary>
    private const double ManyEpochs = 10;

    private static readonly PtqSettings DefaultPtq = new();
    private static readonly QatSettings DefaultQat = new();

    /// <summary>The warnings, one sentence each.</summary>
    public static IEnumerable<string> Warnings(Recipe recipe, RunFacts facts)
    {
        var rules = facts.Layers.Select(layer => recipe.RuleFor(layer.Name)).OfType<RecipeRule>().Distinct().ToList();
        return IdleRules(recipe, facts)
            .Concat(RaggedGroups(recipe, facts))
            .Concat(FewTokens(recipe, facts))
            .Concat(IdleParts(rules, recipe, facts.Method))
            .Concat(facts.Method == Method.Ptq ? IdlePtqSettings(recipe, rules) : IdleQatSettings(recipe, rules))
            .Concat(Repeated(facts));
    }

    /// <summary>Rules that apply to no layer.</summary>
    private static IEnumerable<string> IdleRules(Recipe recipe, RunFacts facts)
    {
        var deciding = facts.Layers.Select(layer => recipe.Rules.Index().FirstOrDefault(rule => rule.Item.Matches(layer.Name), (-1, null!)).Index).ToList();
        var used = deciding.ToHashSet();
        foreach (var (number, rule) in recipe.Rules.Index())
        {
            if (used.Contains(number) || IsMeantForOthers(recipe, rule, facts))
            {
                continue;
            }

            var earlier = deciding.Where((_, layer) => rule.Matches(facts.Layers[layer].Name)).Distinct().Select(index => $"'{recipe.Rules[index].Pattern}'")
                .ToList();
            if (earlier.Count > 0 && rule.Pattern == "*" && number == recipe.Rules.Count - 1)
            {
                // The catch-all rule at the end has nothing left to match.
                continue;
            }

            yield return earlier.Count > 0
                ? $"the rule '{rule.Pattern}' has no effect: the first rule that matches decides, and {string.Join(" and ", earlier)} before it "
                    + $"{(earlier.Count == 1 ? "matches" : "match")} all its layers"
                : facts.OutOfReach.FirstOrDefault(layer => rule.Matches(layer.Name)) is { } kept
                    ? $"the rule '{rule.Pattern}' has no effect on {kept.Name}: {kept.Reason}"
                    : $"the rule '{rule.Pattern}' matches none of the {facts.Layers.Count} layers and has no effect; their names look like "
                        + $"'{facts.Layers[0].Name}'";
        }
    }

    /// <summary>Whether an unused rule needs no warning: it repeats the default, or it names a part of the model as other families do, as in presets.</summary>
    private static bool IsMeantForOthers(Recipe recipe, RecipeRule rule, RunFacts facts) =>
        (rule.Weights is null && (rule.Pattern == RecipePresets.Head || facts.OutOfReach.Any(layer => rule.Matches(layer.Name))))
        || (HybridPresets.Attention.Contains(rule.Pattern) && HybridPresets.Attention.All(pattern => recipe.Rules.Any(other => other.Pattern == pattern))
            && HybridPresets.Attention.Any(pattern => facts.Layers.Any(layer => new RecipeRule(pattern, Weights: null).Matches(layer.Name))));

    private static IEnumerable<string> RaggedGroups(Recipe recipe, RunFacts facts)
    {
        var ragged = from layer in facts.Layers
                     let scheme = recipe.RuleFor(layer.Name)?.Weights
                     where scheme is { Granularity: PerGroup { Size: var size } } && layer.Columns % size != 0
                     group layer.Name by (((PerGroup)scheme.Granularity).Size, layer.Columns);
        foreach (var kind in ragged)
        {
            var (size, columns) = kind.Key;
            var what = columns < size ? "each row is one group"
                : string.Create(CultureInfo.InvariantCulture, $"the last group of each row holds {columns % size}");
            yield return string.Create(
                CultureInfo.InvariantCulture,
                $"groups of {size} do not divide the {columns} columns of {RunSummary.Names([.. kind])}: {what}, and other engines refuse such layers");
        }
    }

    /// <summary>With fewer tokens than columns, second moments are unknown in most directions of the inputs.</summary>
    private static IEnumerable<string> FewTokens(Recipe recipe, RunFacts facts)
    {
        if (facts.HasIdleData)
        {
            yield return "the calibration data is not used: the recipe has nothing to calibrate";
        }

        if (facts.CalibrationPieces is not { } pieces)
        {
            yield break;
        }

        if (facts.WindowTokens is { } length && length < recipe.Ptq.SequenceLength && recipe.Ptq.SequenceLength != DefaultPtq.SequenceLength)
        {
            yield return string.Create(CultureInfo.InvariantCulture,
                $"the calibration windows have {length} tokens, the model's limit, instead of {recipe.Ptq.SequenceLength}");
        }

        if (facts.WindowTokens is not null && pieces < recipe.Ptq.Windows)
        {
            yield return string.Create(CultureInfo.InvariantCulture,
                $"the calibration data fills {pieces} of the {recipe.Ptq.Windows} windows that the recipe requests");
        }

        var tokens = facts.CalibrationTokens;
        var starved = facts.Layers
            .Where(layer => layer.Columns > tokens && recipe.RuleFor(layer.Name) is { } rule && MomentAlgorithms(recipe, rule, facts.Method).Any())
            .ToList();
        if (starved.Count > 0 && tokens > 0)
        {
            var most = starved.Max(layer => layer.Columns);
            yield return string.Create(
                CultureInfo.InvariantCulture,
                $"{string.Join(" and ", starved.SelectMany(layer => MomentAlgorithms(recipe, recipe.RuleFor(layer.Name)!, facts.Method)).Distinct())} of "
                + $"{RunSummary.Names([.. starved.Select(layer => layer.Name)])} sees {tokens} tokens for up to {most} columns and can be worse than "
                + $"round to nearest; "
                + $"calibrate on at least {most} tokens, preferably ten times as many");
        }
    }

    /// <summary>The algorithms of a layer, or of its starting point for training, that use second moments of its inputs.</summary>
    private static IEnumerable<string> MomentAlgorithms(Recipe recipe, RecipeRule rule, Method method) =>
        ((rule.WeightMethod ?? method) == Method.Ptq ? rule.Algorithms : recipe.Qat.Start).Names.Where(name => name is "gptq" or "gptaq" or "awq");

    /// <summary>Parts of rules that nothing uses.</summary>
    private static IEnumerable<string> IdleParts(IReadOnlyList<RecipeRule> rules, Recipe recipe, Method method)
    {
        // In a hybrid recipe, the rules of both methods carry the algorithms, although only PTQ uses them.
        var solved = rules.Where(rule => (rule.WeightMethod ?? method) == Method.Ptq).Select(rule => rule.Algorithms).ToHashSet();
        foreach (var rule in rules)
        {
            var trained = (rule.WeightMethod ?? method) == Method.Qat;
            if (rule.Activations is { Scheme.Granularity: PerToken, Observer: not ObserverKind.MinMax })
            {
                yield return $"the observer of the rule '{rule.Pattern}' has no effect: per-token inputs take their range from each token";
            }

            if (trained && rule.Algorithms != recipe.Qat.Start && rule.Algorithms != WeightAlgorithms.RoundToNearest && !solved.Contains(rule.Algorithms))
            {
                yield return $"the algorithms {Names(rule.Algorithms)} of the rule '{rule.Pattern}' have no effect: its weights are trained, starting from "
                    + $"qat.start ({Names(recipe.Qat.Start)})";
            }

            if (!trained && rule.Range != WeightRange.MinMax && rule.Algorithms is { Rounding: WeightRounding.ImportanceWeighted or WeightRounding.Hqq }
                && rule.Algorithms.DefaultRange != rule.Range)
            {
                yield return $"the range of the rule '{rule.Pattern}' has no effect: {Names(rule.Algorithms)} finds its own ranges";
            }

            if (trained && rule.Range != WeightRange.MinMax && recipe.Qat is { Estimator: GradientEstimator.StraightThrough, Mode: TrainingMode.Full })
            {
                yield return $"the range of the rule '{rule.Pattern}' has no effect: the estimator straightThrough always uses the range from the lowest to "
                    + $"the highest weight";
            }
        }
    }

    /// <summary>Post-training settings that differ from the defaults and that no algorithm of the recipe uses.</summary>
    private static IEnumerable<string> IdlePtqSettings(Recipe recipe, IReadOnlyList<RecipeRule> rules)
    {
        var (standard, ptq) = (DefaultPtq, recipe.Ptq);
        var calibrates = recipe.KeyValueCache is { HasStaticKeys: true }
            || rules.Any(rule => rule.Algorithms.NeedsData || rule.Activations is { Scheme.Granularity: PerTensor });
        var compares = rules.Any(rule => rule.Algorithms.Rounding == WeightRounding.Gptaq);
        var solves = compares || rules.Any(rule => rule.Algorithms.Rounding == WeightRounding.Gptq);
        var scales = rules.Any(rule => rule.Algorithms.Scaling != ChannelScaling.None);
        var learns = rules.Any(rule => rule.Algorithms.Learning != RoundingLearning.None);
        (string Name, bool Changed, bool Used, string By)[] settings =
        [
            ("windows", ptq.Windows != standard.Windows, calibrates, "nothing is calibrated"),
            ("sequenceLength", ptq.SequenceLength != standard.SequenceLength, calibrates, "nothing is calibrated"),
            ("dampening", ptq.Dampening != standard.Dampening, solves, "only gptq and gptaq use it"),
            ("activationOrder", ptq.ActivationOrder != standard.ActivationOrder, solves, "only gptq and gptaq use it"),
            ("asymmetry", ptq.Asymmetry != standard.Asymmetry, compares, "only gptaq uses it"),
            ("sequential", ptq.Sequential != standard.Sequential, rules.Any(rule => rule.Algorithms.NeedsData), "no algorithm uses inputs"),
            ("scalingGrid", ptq.ScalingGrid != standard.ScalingGrid, scales, "only awq and smoothquant use it"),
            ("learningSteps", ptq.LearningSteps != standard.LearningSteps, learns, "only adaround and signround use it"),
            ("learningBatch", ptq.LearningBatch != standard.LearningBatch, learns, "only adaround and signround use it"),
            ("learningRate", ptq.LearningRate != standard.LearningRate, learns, "only adaround and signround use it"),
        ];
        return Idle("ptq", settings);
    }

    /// <summary>Training settings that differ from the defaults and that this training does not use.</summary>
    private static IEnumerable<string> IdleQatSettings(Recipe recipe, IReadOnlyList<RecipeRule> rules)
    {
        var (standard, qat) = (DefaultQat, recipe.Qat);
        var (schedule, standardSchedule) = (qat.Schedule, DefaultQat.Schedule);
        var ranges = rules.Any(rule => rule is { Activations.Scheme.Granularity: PerTensor, ActivationMethod: not Method.Ptq });
        var inputs = rules.Any(rule => rule.Activations is not null);
        var weights = rules.Any(rule => rule.WeightMethod != Method.Ptq);
        var follows = qat.Activations == ActivationEstimator.StraightThrough;
        var scales = (weights && (qat.Estimator != GradientEstimator.StraightThrough || qat.Mode != TrainingMode.Full)) || (ranges && !follows);
        var adapters = qat.Mode is TrainingMode.Adapters or TrainingMode.AdaptersOnNormalFloat;

        // Presets set rates that suit their bit width.
        List<QatSettings> presets = [.. Enumerable.Range(2, 7).Select(QatSettings.ForWidth), QatSettings.ForRanges];
        (string Name, bool Changed, bool Used, string By)[] settings =
        [
            ("activations", qat.Activations != standard.Activations, ranges, "no inputs have a fixed range to train (granularity: tensor)"),
            ("scaleLearningRate", presets.TrueForAll(preset => preset.ScaleLearningRate != qat.ScaleLearningRate), scales, "no scales are learned"),
            ("floatLearningRate", presets.TrueForAll(preset => preset.FloatLearningRate != qat.FloatLearningRate), qat.Mode == TrainingMode.Full,
                "this mode does not train the parameters that stay in float"),
            ("dampening", qat.Dampening != standard.Dampening, weights, "no weights are trained"),
            ("adapterRank", qat.AdapterRank != standard.AdapterRank, adapters, "only the modes adapters and adaptersOnNormalFloat have adapters"),
            ("blockSteps", qat.BlockSteps != standard.BlockSteps, qat.Mode == TrainingMode.BlockWise, "only the mode blockWise trains blocks"),
            ("schedule.activationDelay", schedule.ActivationDelay != standardSchedule.ActivationDelay, inputs, "no inputs are quantized"),
            ("schedule.observerFreeze", schedule.ObserverFreeze != standardSchedule.ObserverFreeze, ranges && follows,
                "no observer tracks inputs during training"),
            ("schedule.annealingShare", schedule.AnnealingShare != standardSchedule.AnnealingShare, schedule.AnnealFrom > 0, "annealFrom is 0"),
        ];
        var solved = rules.Where(rule => rule.WeightMethod == Method.Ptq).Append(new RecipeRule("*", Weights: null) { Algorithms = qat.Start });
        return Idle("qat", settings).Concat(IdlePtqSettings(recipe, [.. solved]));
    }

    private static IEnumerable<string> Idle(string section, IEnumerable<(string Name, bool Changed, bool Used, string By)> settings) =>
        settings.Where(setting => setting is { Changed: true, Used: false })
            .Select(setting => $"the setting {section}.{setting.Name} has no effect: {setting.By}");

    private static IEnumerable<string> Repeated(RunFacts facts) => facts.Epochs is > ManyEpochs and var epochs
        ? [string.Create(CultureInfo.InvariantCulture,
            $"training passes over its data about {epochs:F0} times and may overfit; use more data, or hold some out (evaluateEvery) to detect it")]
        : [];

    private static string Names(WeightAlgorithms algorithms) => string.Join(", ", algorithms.Names);
}
