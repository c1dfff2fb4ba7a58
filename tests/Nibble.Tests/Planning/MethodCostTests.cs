using Nibble.Models;
using Nibble.Planning;

namespace Nibble.Tests.Planning;

public class MethodCostTests
{
    /// <summary>Blocks of 4 x 4 queries and outputs, 2 x 4 keys and values, 8 x 4 gates; 10 tokens.</summary>
    private static readonly ModelShape Small = new("small", 2, 4, 8, 2, 10, TiedHead: true);

    [Theory]
    [InlineData("1B", 1.236e9)]
    [InlineData("8B", 8.030e9)]
    [InlineData("70B", 70.554e9)]
    public void KnownModelsHaveTheirPublishedParameters(string name, double parameters) =>
        Assert.Equal(1, ModelShape.Known.Single(shape => shape.Name == name).Parameters / parameters, 0.001);

    [Fact]
    public void WeightsAreCounted()
    {
        Assert.Equal(16 + 16 + 16 + 96, Small.BlockWeights);
        Assert.Equal(2 * 144, Small.LinearWeights);
        Assert.Equal(288 + 40 + (5 * 4), Small.Parameters);
    }

    [Fact]
    public void AForwardPassIsTwoOperationsAWeightAndTokenAndAttention() =>
        Assert.Equal(30 * ((2 * (288 + 40)) + (4 * 2 * 4 * 5)), MethodCost.Forward(Small, 30, 5));

    [Fact]
    public void TrainingIsThreeForwardPasses()
    {
        var cost = MethodCost.Training(Small, 7, 2, 5);

        Assert.Equal(70, cost.Tokens);
        Assert.Equal(3 * MethodCost.Forward(Small, 70, 5), cost.Flops);
        Assert.Equal(7 * ((28 * Small.Parameters) + (24 * Small.LinearWeights)), cost.Traffic);
    }

    [Fact]
    public void GptqIsPassesHessiansFactorsAndUpdates()
    {
        var passes = 2 * (MethodCost.Forward(Small, 100, 5) - (2 * 100 * 40));
        var four = (2 * 100 * 16) + (64 / 3d);
        var eight = (2 * 100 * 64) + (512 / 3d) + (4 * 64);
        var updates = (4 + (2 * 2) + 4 + (2 * 8)) * 16;

        Assert.Equal(passes + (2 * ((3 * four) + eight + updates)), MethodCost.Gptq(Small, 4, 100, 5, asymmetric: false).Flops, 1e-6);
    }

    [Fact]
    public void GptaqCostsMoreThanGptqAndTrainingMoreThanBoth()
    {
        foreach (var shape in ModelShape.Known)
        {
            var (gptq, gptaq) = (MethodCost.Gptq(shape, 4, 16_384, 256, false), MethodCost.Gptq(shape, 4, 16_384, 256, true));
            var qat = MethodCost.Training(shape, 300, 4, 512);
            var machine = new Hardware(1e14, 1e12);
            Assert.True(MethodCost.RoundToNearest(shape, 4).Seconds(machine) < gptq.Seconds(machine));
            Assert.True(gptq.Seconds(machine) < gptaq.Seconds(machine));
            Assert.True(gptaq.Seconds(machine) < qat.Seconds(machine));
            Assert.True(gptaq.PeakBytes < qat.PeakBytes);
        }
    }

    [Fact]
    public void SecondsAreArithmeticAndTrafficInTurn() =>
        Assert.Equal(8 + 3, new MethodCost(400, 30, 0, 0).Seconds(new Hardware(100, 10) { Efficiency = 0.5 }));
}
