using Nibble.Recipes;
using Nibble.Planning;

namespace Nibble.Tests.Planning;

public class DecisionTests
{
    private const double Tolerance = 0.01;

    [Theory]
    [InlineData(0.008, 0.001, 0, Method.Ptq, Verdict.PtqIsEnough)]
    [InlineData(0.2, 0.05, 0, Method.Qat, Verdict.TrainingPays)]
    [InlineData(0.03, 0.02, 0, Method.Ptq, Verdict.TrainingWinsLittle)]
    [InlineData(0.03, -0.03, -0.06, Method.Ptq, Verdict.GainIsTraining)]
    [InlineData(0.2, 0.0, -0.06, Method.Qat, Verdict.TrainingPays)]
    [InlineData(0.2, 0.05, 0.03, Method.Qat, Verdict.TrainingPays)]
    [InlineData(0.03, -0.97, -1, Method.Qat, Verdict.TextIsNew)]
    [InlineData(0.001, -0.97, -1, Method.Qat, Verdict.TextIsNew)]
    [InlineData(0.005, 0.25, -0.4, Method.Ptq, Verdict.PtqIsEnough)]
    [InlineData(0.3, 0.2, -0.09, Method.Qat, Verdict.TextIsNew)]
    [InlineData(0.225, 0.22, 0, Method.Qat, Verdict.OnlyTrainingIsUsable)]
    [InlineData(double.NaN, 0.5, 0, Method.Qat, Verdict.TrainingPays)]
    public void ARoadIsChosenAtAWidth(double ptq, double qat, double control, object method, object verdict)
    {
        var decision = Decide(Options.Ptq(ptq), Options.Qat(qat, control: control));

        Assert.Equal(((Method)method, (Verdict)verdict), (decision.Recommended!.Method, decision.Widths.Single().Verdict));
        Assert.Equal(decision.Recommended, decision.Ranked[0]);
        Assert.Equal(2, decision.Ranked.Count);
    }

    [Theory]
    [InlineData(0.008, Verdict.PtqIsEnough)]
    [InlineData(0.02, Verdict.OnlyPtq)]
    public void WithoutTrainingPtqMayBeEnoughAllTheSame(double loss, object verdict) =>
        Assert.Equal(verdict, Decide(Options.Ptq(loss)).Widths.Single().Verdict);

    [Fact]
    public void AGainWithinItsErrorDoesNotPay() =>
        Assert.Equal(Method.Ptq, Decide(Options.Ptq(0.2), Options.Qat(0.15, half: 0.1)).Recommended!.Method);

    [Theory]
    [InlineData(0.005, 0.001, 0, true)]
    [InlineData(0.05, 0.04, 0.03, true)]
    [InlineData(0.05, 0.01, 0.03, false)]
    public void WhatWasTriedComesBeforeAPredictionThatIsNotSurelyBetter(double tried, double untried, double half, bool takesTried)
    {
        var (known, predicted) = (Options.Ptq(tried), Options.Ptq(untried) with { Evidence = Evidence.Typical, Quantization = Estimate.Around(untried, half) });

        Assert.Equal(takesTried ? known : predicted, Decide(known, predicted).Recommended);
    }

    [Fact]
    public void TheSmallestWidthWithinTheToleranceWins()
    {
        var decision = Decide(Options.Ptq(0.001, 8), Options.Ptq(0.009), Options.Ptq(0.3, 3));

        Assert.Equal(4, decision.Recommended!.Bits);
        Assert.Equal([8, 4, 3], decision.Widths.Select(width => width.Bits));
    }

    [Fact]
    public void WhereNoWidthIsWithinTheToleranceTheLeastLossWins() =>
        Assert.Equal(4, Decide(Options.Ptq(0.05), Options.Ptq(0.3, 3)).Recommended!.Bits);

    [Theory]
    [InlineData(0.2, false)]
    [InlineData(0.3, true)]
    [InlineData(double.PositiveInfinity, true)]
    public void AWidthMayBeUnusableWithoutTraining(double ptq, bool unusable) =>
        Assert.Equal(unusable, Decide(Options.Ptq(ptq), Options.Qat(0.1)).Widths.Single().UnusableWithoutTraining);

    [Fact]
    public void WhereNothingIsAllowedTheNearestComesFirst()
    {
        var (slow, slower, untrainable) = (Options.Ptq(0.3), Options.Ptq(0.2) with { Seconds = 50 }, Options.Qat(0.1) with { Seconds = 1 });

        var decision = Decision.Of([untrainable, slower, slow], new Constraints { Seconds = 9, MayTrain = false }, Tolerance);

        Assert.Null(decision.Recommended);
        Assert.Empty(decision.Ranked);
        Assert.Equal([slow, slower, untrainable], decision.RuledOut.Select(item => item.Option));
        Assert.Contains("the limit is", Assert.Single(decision.RuledOut[0].Broken).Reason, StringComparison.Ordinal);
    }

    private static Decision Decide(params PlannedOption[] options) => Decision.Of(options, new Constraints(), Tolerance);
}
