namespace Nibble.Planning;

/// <summary>The reason for a method at a bit width.</summary>
internal enum Verdict
{
    /// <summary>PTQ loses no more than the tolerance.</summary>
    PtqIsEnough,

    /// <summary>Training would gain too little to be worth its time, or less than the prediction's standard error.</summary>
    TrainingWinsLittle,

    /// <summary>Training would give a better model, but so would training the float model. PTQ is enough for the quantization.</summary>
    GainIsTraining,

    /// <summary>The float model does not fit the text: training gains more than <see cref="LossLimits.Usable"/>, which PTQ would miss.</summary>
    TextIsNew,

    /// <summary>Training gains more than training the float model would, and more than the uncertainty.</summary>
    TrainingPays,

    /// <summary>Training gains little, but without it the loss is not below <see cref="LossLimits.Usable"/>.</summary>
    OnlyTrainingIsUsable,

    /// <summary>No allowed option trains, and PTQ loses more than the tolerance.</summary>
    OnlyPtq,

    /// <summary>Every allowed option trains.</summary>
    OnlyTraining,
}

/// <summary>The decision at one bit width.</summary>
/// <param name="Bits">Bits of a weight.</param>
/// <param name="Option">The chosen option.</param>
/// <param name="Verdict">The reason.</param>
/// <param name="Ptq">The best allowed option that does not train; null if there is none.</param>
/// <param name="Trained">The best allowed option that trains; null if there is none.</param>
internal sealed record WidthDecision(int Bits, PlannedOption Option, Verdict Verdict, PlannedOption? Ptq, PlannedOption? Trained)
{
    /// <summary>Whether the model is unusable at this bit width without training: the best PTQ loses more than <see cref="LossLimits.Usable"/>.</summary>
    public bool UnusableWithoutTraining { get; init; }
}

/// <summary>An option that violates constraints.</summary>
/// <param name="Option">The option.</param>
/// <param name="Broken">The constraints that it violates.</param>
internal sealed record RuledOut(PlannedOption Option, IReadOnlyList<Violation> Broken);

/// <summary>The choice among options.</summary>
/// <param name="Recommended">The chosen option; null if constraints rule all options out.</param>
/// <param name="Ranked">All allowed options, the recommended one first, then by loss.</param>
/// <param name="Widths">The decision at each bit width, the highest first.</param>
/// <param name="RuledOut">The options that constraints rule out, those nearest to being allowed first.</param>
internal sealed record Decision(
    PlannedOption? Recommended, IReadOnlyList<PlannedOption> Ranked, IReadOnlyList<WidthDecision> Widths, IReadOnlyList<RuledOut> RuledOut)
{
    /// <summary>Chooses among options.</summary>
    /// <remarks>
    /// At each bit width, PTQ is chosen if its loss is small, or if it is usable and training gains too little. Options that were tried take
    /// precedence over untried ones, unless the prediction is lower by more than its standard error. Among the options of all bit widths, the
    /// smallest within the tolerance is chosen. If there is none, the one with the lowest loss is chosen.
    /// </remarks>
    /// <param name="options">At least one option.</param>
    /// <param name="constraints">The limits and requirements for the options.</param>
    /// <param name="tolerance">The loss over float that counts as none, in nats per token; above 0.</param>
    public static Decision Of(IReadOnlyCollection<PlannedOption> options, Constraints constraints, double tolerance) =>
        Of(options, constraints, LossLimits.For(null, 0) with { Small = tolerance });

    /// <summary>Chooses among options of any task.</summary>
    /// <inheritdoc cref="Of(IReadOnlyCollection{PlannedOption}, Constraints, double)"/>
    /// <param name="options">At least one option.</param>
    /// <param name="constraints">The limits and requirements for the options.</param>
    /// <param name="limits">Which losses are small, worth training for, and usable.</param>
    public static Decision Of(IReadOnlyCollection<PlannedOption> options, Constraints constraints, LossLimits limits)
    {
        ArgumentNullException.ThrowIfNull(options);
        ArgumentNullException.ThrowIfNull(constraints);
        ArgumentNullException.ThrowIfNull(limits);
        ArgumentOutOfRangeException.ThrowIfZero(options.Count);
        var judged = options.Select(option => new RuledOut(option, constraints.Broken(option))).ToList();
        var allowed = judged.Where(item => item.Broken.Count == 0).Select(item => item.Option).ToList();
        var widths = allowed.GroupBy(option => option.Bits).OrderByDescending(width => width.Key).Select(width => Choose([.. width], limits)).ToList();
        var recommended = widths.Select(width => width.Option).Where(option => option.Quantization.Value <= limits.Small)
            .OrderBy(option => option.Bytes).ThenBy(Loss).FirstOrDefault()
            ?? widths.Select(width => width.Option).MinBy(Loss);
        return new Decision(
            recommended,
            [.. allowed.OrderByDescending(option => option == recommended).ThenBy(Loss)],
            widths,
            [.. judged.Where(item => item.Broken.Count > 0).OrderBy(Distance).ThenBy(item => Loss(item.Option))]);
    }

    private static WidthDecision Choose(IReadOnlyList<PlannedOption> options, LossLimits limits)
    {
        var ptq = Best(options.Where(option => !option.Trains), limits.Small);
        var trained = Best(options.Where(option => option.Trains), limits.Small);
        WidthDecision decision = (ptq, trained) switch
        {
            ({ } only, null) => new(only.Bits, only, only.Loss.Value <= limits.Small ? Verdict.PtqIsEnough : Verdict.OnlyPtq, only, null),
            (null, { } only) => new(only.Bits, only, Verdict.OnlyTraining, null, only),
            ({ } quick, { } slow) => Weigh(quick, slow, limits),
            _ => throw new ArgumentException("A width has no option.", nameof(options)),
        };
        return decision with { UnusableWithoutTraining = ptq is not null && ptq.Loss.Value > limits.Usable };
    }

    /// <summary>The option with the lowest loss. An untried one is chosen only if no tried one is good enough and its prediction is clearly
    /// lower.</summary>
    private static PlannedOption? Best(IEnumerable<PlannedOption> options, double tolerance)
    {
        var known = options.ToLookup(option => option.Evidence != Evidence.Typical);
        return (known[true].MinBy(Loss), known[false].MinBy(Loss)) switch
        {
            ({ } tried, { } untried) =>
                Loss(tried) > tolerance && untried.Quantization.Value + untried.Quantization.StandardError < Loss(tried) ? untried : tried,
            var (tried, untried) => tried ?? untried,
        };
    }

    private static WidthDecision Weigh(PlannedOption ptq, PlannedOption trained, LossLimits limits)
    {
        var gain = Loss(ptq) - Loss(trained);
        var plain = ptq.Loss.Value - trained.Loss.Value;

        // Both were scored on the same windows, so their difference is about as uncertain as the prediction of the one that was not tried.
        var enough = Math.Max(limits.WorthTraining, Math.Max(0, trained.Quantization.StandardError));
        if (plain - gain > limits.Usable && plain > limits.WorthTraining)
        {
            return new(ptq.Bits, trained, gain > enough ? Verdict.TrainingPays : Verdict.TextIsNew, ptq, trained);
        }

        if (ptq.Loss.Value <= limits.Small)
        {
            return new(ptq.Bits, ptq, Verdict.PtqIsEnough, ptq, trained);
        }

        if (gain > enough || !double.IsFinite(Loss(ptq)))
        {
            return new(ptq.Bits, trained, Verdict.TrainingPays, ptq, trained);
        }

        if (ptq.Loss.Value > limits.Usable && trained.Loss.Value <= limits.Usable)
        {
            return new(ptq.Bits, trained, plain - gain > gain ? Verdict.TextIsNew : Verdict.OnlyTrainingIsUsable, ptq, trained);
        }

        return new(ptq.Bits, ptq, plain > enough ? Verdict.GainIsTraining : Verdict.TrainingWinsLittle, ptq, trained);
    }

    private static double Loss(PlannedOption option) => double.IsNaN(option.Quantization.Value) ? double.PositiveInfinity : option.Quantization.Value;

    /// <summary>How far an option is from being allowed: first by what no amount would change, then by the amounts.</summary>
    private static double Distance(RuledOut item) => item.Broken.Sum(broken => double.IsInfinity(broken.Excess) ? 1e6 : Math.Log(Math.Max(1, broken.Excess)));
}
