using Nibble.Planning;
using Nibble.Recipes;

namespace Nibble.Tests.Planning;

public class TargetEnginesTests
{
    [Theory]
    [InlineData((int)Engine.Nibble, "w3a4-g32-rotated-gptaq", 172, true)]
    [InlineData(Engine.LlamaCpp, "w4a16-g32-gptaq", 172, true)]
    [InlineData(Engine.LlamaCpp, "w8a16-g32-sym", 64, true)]
    [InlineData(Engine.LlamaCpp, "w8a16-g32", 64, false)]
    [InlineData(Engine.LlamaCpp, "w3a16-g32", 64, false)]
    [InlineData(Engine.LlamaCpp, "w4a16-g64", 64, false)]
    [InlineData(Engine.LlamaCpp, "w4a8-g32", 64, false)]
    [InlineData((int)Engine.Vllm, "w4a16-g32", 64, true)]
    [InlineData((int)Engine.Vllm, "w4a16-g32", 172, false)]
    [InlineData((int)Engine.Vllm, "w4a16", 172, true)]
    [InlineData((int)Engine.Vllm, "w8a8", 172, true)]
    [InlineData((int)Engine.Vllm, "w2a16-g32", 64, false)]
    [InlineData((int)Engine.Vllm, "w4a16-g32-rotated", 64, false)]
    [InlineData((int)Engine.OnnxRuntime, "w2a16-g32", 64, true)]
    [InlineData((int)Engine.OnnxRuntime, "w3a16-g32", 64, false)]
    [InlineData((int)Engine.OnnxRuntime, "w4a16-g48", 64, false)]
    [InlineData((int)Engine.OnnxRuntime, "w8a8-static", 64, true)]
    [InlineData((int)Engine.OnnxRuntime, "wta16-g32", 64, false)]
    public void AnEngineRunsWhatItsFormatsHold(object engine, string recipe, int columns, bool runs) =>
        Assert.Equal(runs, TargetEngines.Refusal(
            (Engine)engine, RecipePresets.Parse(recipe), [KeyValuePair.Create("model.layers.0.mlp.down_proj", columns)]) is null);

    [Fact]
    public void LayersThatStayFloatRunEverywhere() =>
        Assert.Null(TargetEngines.Refusal(Engine.Vllm, RecipePresets.Parse("w4a16-g32"), [KeyValuePair.Create("lm_head", 33)]));

    [Theory]
    [InlineData(4, 16, "w4a16-g32", "w4a16-g32-mse", "w4a16-g32-gptaq", "w4a16-g32-gptq", "w4a16-g32")]
    [InlineData(4, 4, "w4a4-g32", "w4a4-g32-mse", "w4a4-g32-rotated-gptaq", "w4a4-g32-gptaq", "w4a4-g32-gptq", "w4a4-g32",
        "w4a4-g32-hybrid-weights-ptq-activations-qat")]
    public void CandidatesOfAWidth(int bits, int activations, params string[] recipes)
    {
        var candidates = Candidate.For(bits, activations, 32, Engine.Nibble);

        Assert.Equal(recipes, candidates.Select(candidate => candidate.Recipe.Name));
        Assert.All(candidates, candidate => Assert.Equal(bits, candidate.Bits));
        Assert.Equal([false, false], candidates.Take(2).Select(candidate => candidate.NeedsData));
        Assert.All(candidates.Skip(2), candidate => Assert.True(candidate.NeedsData));
    }

    [Fact]
    public void CandidatesOfAnEncoderTrainAsSuitsItAndAreNotRotated() => Assert.Equal(
        ["w4a4-g32", "w4a4-g32-mse", "w4a4-g32-gptaq", "w4a4-g32-gptq", "w4a4-g32-encoder", "w4a4-g32-encoder-hybrid-weights-ptq-activations-qat"],
        Candidate.For(4, 4, null, Engine.Nibble, encoder: true).Select(candidate => candidate.Recipe.Name));

    [Theory]
    [InlineData((int)Engine.OnnxRuntime, null, "w8a8")]
    [InlineData((int)Engine.Vllm, null, "w8a8")]
    [InlineData((int)Engine.OnnxRuntime, 64, "w8a8-g64")]
    [InlineData((int)Engine.Nibble, null, "w8a8-g32")]
    public void EightBitsByEightAreByRowsWhereTheEngineKnowsNothingElse(int engine, int? groupSize, string recipe) =>
        Assert.Equal(recipe, Candidate.For(8, 8, groupSize, (Engine)engine)[0].Recipe.Name);
}
