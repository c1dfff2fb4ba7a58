using Nibble.Files;
using Nibble.Formats.Gguf;
using Nibble.Numerics;
using Nibble.Recipes;

namespace Nibble.Tests.Recipes;

public class RecipeTargetTests
{
    private static readonly (string Name, int Columns)[] Layers =
    [
        .. Enumerable.Range(0, 12).SelectMany(
            block => ((string, int)[])[($"model.layers.{block}.self_attn.q_proj", 64), ($"model.layers.{block}.mlp.down_proj", 172)]),
        ("lm_head", 64),
    ];

    public static TheoryData<string> Names => [.. RecipeTarget.Names];

    /// <summary>Whatever codes the scheme allows, the smallest blocks that hold them are the target's, or those of as few bits.</summary>
    [Theory]
    [MemberData(nameof(Names))]
    public void TheSchemeIsWhatTheBlocksHold(string name)
    {
        var target = RecipeTarget.Parse(name);
        var random = new Random(1);
        var scheme = target.Weights;
        var groups = 2 * 512 / scheme.Granularity.GroupLength(512);
        var tensor = new QuantizedTensor(
            2,
            512,
            scheme,
            [.. Enumerable.Range(0, 1024).Select(_ => (sbyte)random.Next(scheme.Codes.Min, scheme.Codes.Max + 1))],
            [.. Enumerable.Range(0, groups).Select(_ => QuantizationParameters.RoundScale(random.NextSingle() + 0.01, scheme.ScalePrecision))],
            [.. Enumerable.Range(0, scheme.Symmetric ? 0 : groups).Select(_ => (sbyte)random.Next(scheme.Codes.Min, scheme.Codes.Max + 1))]);

        Assert.Equal(ScalePrecision.Float16, scheme.ScalePrecision);
        Assert.NotNull(ExactBlocks.Create(tensor, target.Type));
        Assert.Equal(target.Type == GgufType.TQ1_0 ? GgufType.TQ2_0 : target.Type, ExactBlocks.Find(tensor)!.Type);
    }

    [Fact]
    public void RowsThatAreNotWholeBlocksAndTheHeadStayFloat()
    {
        var recipe = RecipeTarget.Parse("GGUF:Q4_0").Apply(recipe: null, Layers);
        Assert.Equal("gguf:q4_0", recipe.Name);
        Assert.Equal(["model.layers.*.mlp.down_proj", "lm_head", "*"], recipe.Rules.Select(rule => rule.Pattern));
        Assert.All(Layers, layer => Assert.Equal(layer.Name.EndsWith("q_proj", StringComparison.Ordinal), recipe.RuleFor(layer.Name) is not null));

        // Where blocks do not agree, each is named.
        var mixed = RecipeTarget.Parse("gguf:q8_0").Apply(recipe: null, [("model.layers.0.mlp.down_proj", 64), ("model.layers.1.mlp.down_proj", 65)]);
        Assert.Equal("model.layers.1.mlp.down_proj", mixed.Rules[0].Pattern);
    }

    [Fact]
    public void ARecipeSaysHowAndTheTargetWhat()
    {
        var given = RecipePresets.Parse("w3a8-g64-smoothquant-gptaq");
        var recipe = RecipeTarget.Parse("gguf:q5_1").Apply(given, Layers);
        Assert.Equal("w3a8-g64-smoothquant-gptaq for gguf:q5_1", recipe.Name);
        Assert.Equal(given.Qat, recipe.Qat);
        var (before, after) = (given.Rules[^1], recipe.Rules[^1]);
        Assert.Equal((5, false, Granularity.Group(32)), (after.Weights!.Bits, after.Weights.Symmetric, after.Weights.Granularity));
        Assert.Equal((before.Algorithms, before.Range, before.Activations), (after.Algorithms, after.Range, after.Activations));
        var hybrid = RecipeTarget.Parse("gguf:q4_0").Apply(RecipePresets.Parse("hybrid-attention-qat"), Layers);
        Assert.Equal(Method.Qat, hybrid.RuleFor("model.layers.0.self_attn.q_proj")!.WeightMethod);
    }

    [Fact]
    public void WhatTheEngineDoesNotComputeOrCannotHoldIsRefused()
    {
        Assert.Contains("rotates the model", Refusal(() => RecipeTarget.Parse("gguf:q4_0").Apply(RecipePresets.Parse("w4a16-g32-rotated"), Layers)),
            StringComparison.Ordinal);
        Assert.Contains("of 256, and the columns of this model are 64, 172", Refusal(() => RecipeTarget.Parse("gguf:tq2_0").Apply(recipe: null, Layers)),
            StringComparison.Ordinal);
        Assert.Contains("Did you mean gguf:q4_0?", Refusal(() => RecipeTarget.Parse("gguf:q40")), StringComparison.Ordinal);
    }

    private static string Refusal(Action action) => Assert.Throws<NibbleException>(action).Message;
}
