using Nibble.Planning;
using Nibble.Recipes;
using Nibble.Torch.Models;
using Nibble.Torch.Planning;
using Nibble.Torch.Tests.Shared;

namespace Nibble.Torch.Tests.Planning;

public sealed class MixPlannerTests : IDisposable
{
    private readonly TemporaryFolder folder = new();
    private readonly LoadedModel source;
    private readonly LayerStudy study;

    public MixPlannerTests()
    {
        source = new TinyLlama().Open(folder);
        study = new LayerStudy(new StudyOptions(
            source, Texts.Random(600), [.. ((string[])["w2a16-g8", "w4a16-g8", "w8a16-g8"]).Select(PlanningRecipes.Parse)],
            folder.File("cache"))
        { Windows = 4, Context = 32 });
    }

    public void Dispose()
    {
        study.Dispose();
        source.Dispose();
        folder.Dispose();
    }

    [Fact]
    public void AverageBitsAreKeptAndTheMixBeatsTheWidthBelow()
    {
        var result = Plan("3bits", new MixOptions(default) { Rounds = 1, FrontPoints = 4 });

        Assert.InRange(result.Chosen.AverageBits, 2.9, 3);
        Assert.Equal(result.Chosen.AverageBits, BitsOf(result.Chosen), 1e-9);
        Assert.True(result.Chosen.Measured.Distance.Divergence < result.Uniform[0].Measured.Distance.Divergence);
        Assert.Equal(4, result.Front.Count);
        Assert.Equal(result.Front.OrderBy(point => point.AverageBits), result.Front);
        Assert.InRange(result.Coverage, 0.5, 1);
    }

    [Fact]
    public void TiedLayersHaveOneWidth()
    {
        var recipe = Plan("3.1bits", new MixOptions(default) { Tied = true, Rounds = 0, FrontPoints = 0 }).Chosen.Recipe;

        for (var block = 0; block < TinyLlama.Layers; block++)
        {
            Assert.Single(((string[])["q", "k", "v"]).Select(kind => recipe.RuleFor($"model.layers.{block}.self_attn.{kind}_proj")!.Weights!.Bits).Distinct());
            Assert.Single(((string[])["gate", "up"]).Select(kind => recipe.RuleFor($"model.layers.{block}.mlp.{kind}_proj")!.Weights!.Bits).Distinct());
        }
    }

    [Fact]
    public void BytesAreThoseOfTheArtifact()
    {
        var (narrow, wide) = (study.Measure(study.Options.Recipes[0]).Bytes, study.Measure(study.Options.Recipes[^1]).Bytes);
        var budget = (narrow + wide) / 2;
        var result = Plan($"{budget}B", new MixOptions(default) { Rounds = 0, FrontPoints = 0 });

        Assert.InRange(result.Chosen.Measured.Bytes, budget - 200, budget);
    }

    [Fact]
    public void LossIsMeasuredAndCostsFewerBitsThanTheWidthAbove()
    {
        var loss = study.Measure(study.Options.Recipes[1]).Distance.Loss;
        var result = Plan(FormattableString.Invariant($"loss={loss + 0.01:0.######}"), new MixOptions(default) { Rounds = 3, FrontPoints = 0 });

        Assert.InRange(result.Chosen.Measured.Distance.Loss, -1, loss + 0.0100005);
        Assert.InRange(result.Chosen.AverageBits, 2, 4);
    }

    [Theory]
    [InlineData("1.5bits", "2 bits on average")]
    [InlineData("100B", "2 bits on average")]
    public void WhatNothingMeetsNamesTheNearest(string budget, string nearest) =>
        Assert.Contains(nearest, Assert.Throws<NoSolutionException>(() => Plan(budget, new MixOptions(default) { Rounds = 0, FrontPoints = 0 })).Message,
            StringComparison.Ordinal);

    [Fact]
    public void BitsOfCodesDoNotChooseAmongGroupSizes()
    {
        using var groups = new LayerStudy(study.Options with { Recipes = [.. ((string[])["w2a16-g8", "w2a16-g16"]).Select(PlanningRecipes.Parse)] });

        Assert.Contains(
            "do not depend on the group size",
            Assert.Throws<NibbleException>(() => MixPlanner.Run(groups, new MixOptions(Budget.Parse("3bits")))).Message,
            StringComparison.Ordinal);
    }

    [Fact]
    public void BytesAreSharedOutAmongGroupSizesToo()
    {
        using var groups = new LayerStudy(
            study.Options with { Recipes = [.. ((string[])["w3a16-g16", "w4a16-g16", "w3a16-g8", "w4a16-g8"]).Select(PlanningRecipes.Parse)] });
        var uniform = groups.Measure(groups.Options.Recipes[2]);
        var result = MixPlanner.Run(groups, new MixOptions(new Budget(BudgetKind.Bytes, uniform.Bytes)) { Rounds = 2, FrontPoints = 0 });

        Assert.True(result.Chosen.Measured.Bytes <= uniform.Bytes);
        Assert.True(result.Chosen.Measured.Distance.Divergence < uniform.Distance.Divergence);
        Assert.True(result.Chosen.Recipe.Rules.Select(rule => rule.Weights?.Granularity).Distinct().Count() > 1);
    }

    [Fact]
    public void MinutesOfTrainingAreSpentOnTheLayersThatGainMost()
    {
        var result = Plan("2.5bits", new MixOptions(default) { Rounds = 0, FrontPoints = 0, QatMinutes = 0.1 });

        Assert.Equal(["all", "attention", "costliest", "feed-forward", "none"], result.Methods.Select(trial => trial.Trained).Order());
        Assert.Equal(result.Methods.OrderBy(trial => trial.Distance.Loss), result.Methods);
        Assert.All(result.Methods.Where(trial => trial.Trained != "none"), trial =>
        {
            Assert.Equal(trial.Layers, study.Layers.Count(layer => trial.Recipe.RuleFor(layer)!.WeightMethod == Method.Qat));
            Assert.All(study.Layers, layer => Assert.Equal(result.Chosen.Recipe.RuleFor(layer)!.Weights, trial.Recipe.RuleFor(layer)!.Weights));
            Assert.InRange(trial.Recipe.Qat.Steps, 8, 6 / trial.StepSeconds);
            Assert.InRange(trial.TriedSteps, 8, trial.Recipe.Qat.Steps);
        });
        var methods = result.Methods.ToDictionary(trial => trial.Trained);
        Assert.Equal(study.Layers.Count, methods["all"].Layers);
        Assert.Equal(study.Layers.Count, methods["attention"].Layers + methods["feed-forward"].Layers);
        Assert.InRange(methods["costliest"].Layers, 1, study.Layers.Count / 2);
        Assert.Same(result.Methods[0].Recipe.Rules, result.Recipe.Rules);

        // A study that is run again finds all that was measured, times included.
        var made = study.Made;
        Assert.Equal(result.Recipe.Qat, Plan("2.5bits", new MixOptions(default) { Rounds = 0, FrontPoints = 0, QatMinutes = 0.1 }).Recipe.Qat);
        Assert.Equal(made, study.Made);
    }

    private MixResult Plan(string budget, MixOptions options) => MixPlanner.Run(study, options with { Budget = Budget.Parse(budget) });

    private double BitsOf(MixPoint point)
    {
        var layers = source.Llama().Linears.Where(linear => point.Recipe.RuleFor(linear.Key) is not null).ToList();
        return layers.Sum(linear => (double)linear.Value.Weight.numel() * point.Recipe.RuleFor(linear.Key)!.Weights!.Bits) / layers
            .Sum(linear => linear.Value.Weight.numel());
    }
}
