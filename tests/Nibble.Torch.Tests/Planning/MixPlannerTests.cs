using Nibble.Planning;
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
        study = new LayerStudy(new StudyOptions(source, Texts.Random(600), [.. ((string[])["w2a16-g8", "w4a16-g8", "w8a16-g8"]).Select(PlanningRecipes.Parse)], folder.File("cache")) { Windows = 4, Context = 32 });
    }

    public void Dispose()
    {
        study.Dispose();
        source.Dispose();
        folder.Dispose();
    }

    [Fact]
    public void AverageBits_AreKept_AndTheMixBeatsTheWidthBelow()
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
    public void TiedLayers_HaveOneWidth()
    {
        var recipe = Plan("3.1bits", new MixOptions(default) { Tied = true, Rounds = 0, FrontPoints = 0 }).Chosen.Recipe;

        for (var block = 0; block < TinyLlama.Layers; block++)
        {
            Assert.Single(((string[])["q", "k", "v"]).Select(kind => recipe.RuleFor($"model.layers.{block}.self_attn.{kind}_proj")!.Weights!.Bits).Distinct());
            Assert.Single(((string[])["gate", "up"]).Select(kind => recipe.RuleFor($"model.layers.{block}.mlp.{kind}_proj")!.Weights!.Bits).Distinct());
        }
    }

    [Fact]
    public void Bytes_AreThoseOfTheArtifact()
    {
        var (narrow, wide) = (study.Measure(study.Options.Recipes[0]).Bytes, study.Measure(study.Options.Recipes[^1]).Bytes);
        var budget = (narrow + wide) / 2;
        var result = Plan($"{budget}B", new MixOptions(default) { Rounds = 0, FrontPoints = 0 });

        Assert.InRange(result.Chosen.Measured.Bytes, budget - 200, budget);
    }

    [Fact]
    public void Loss_IsMeasured_AndCostsFewerBitsThanTheWidthAbove()
    {
        var loss = study.Measure(study.Options.Recipes[1]).Distance.Loss;
        var result = Plan(FormattableString.Invariant($"loss={loss + 0.01:0.######}"), new MixOptions(default) { Rounds = 3, FrontPoints = 0 });

        Assert.InRange(result.Chosen.Measured.Distance.Loss, -1, loss + 0.0100005);
        Assert.InRange(result.Chosen.AverageBits, 2, 4);
    }

    [Theory]
    [InlineData("1.5bits", "2 bits on average")]
    [InlineData("100B", "2 bits on average")]
    public void WhatNothingMeets_NamesTheNearest(string budget, string nearest) =>
        Assert.Contains(nearest, Assert.Throws<NoSolutionException>(() => Plan(budget, new MixOptions(default) { Rounds = 0, FrontPoints = 0 })).Message, StringComparison.Ordinal);

    private MixResult Plan(string budget, MixOptions options) => MixPlanner.Run(study, options with { Budget = Budget.Parse(budget) });

    private double BitsOf(MixPoint point)
    {
        var layers = source.Model.Linears.Where(linear => point.Recipe.RuleFor(linear.Key) is not null).ToList();
        return layers.Sum(linear => (double)linear.Value.Weight.numel() * point.Recipe.RuleFor(linear.Key)!.Weights!.Bits) / layers.Sum(linear => linear.Value.Weight.numel());
    }
}
