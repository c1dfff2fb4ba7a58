using Nibble.Recipes;
using Nibble.Torch.Ptq;
using static TorchSharp.torch;

namespace Nibble.Torch.Tests.Ptq;

public sealed class StageStatisticsTests
{
    private const int Tokens = 90;
    private const int Inputs = 6;
    private const int Outputs = 4;
    private const StageNeeds Everything = StageNeeds.Mean | StageNeeds.Importance | StageNeeds.Hessian | StageNeeds.Difference;

    [Fact]
    public void SumsAreThoseOfPlainLoopsWhateverTheBatches()
    {
        using var scope = NewDisposeScope();
        var x = Random(1, Tokens, Inputs) + 0.5;
        using var statistics = new StageStatistics(StageNeeds.Mean | StageNeeds.Importance | StageNeeds.Hessian);
        statistics.Add(x.narrow(0, 0, 20), null, null);
        statistics.Add(x.narrow(0, 20, Tokens - 20), null, null);

        var values = x.data<float>().ToArray();
        var mean = new double[Inputs];
        var moments = new double[Inputs * Inputs];
        for (var token = 0; token < Tokens; token++)
        {
            for (var i = 0; i < Inputs; i++)
            {
                mean[i] += values[(token * Inputs) + i] / (double)Tokens;
                for (var j = 0; j < Inputs; j++)
                {
                    moments[(i * Inputs) + j] += values[(token * Inputs) + i] * (double)values[(token * Inputs) + j] / Tokens;
                }
            }
        }

        static bool Near(double expected, double actual) => Math.Abs(expected - actual) < 1e-5;
        Assert.Equal(mean, statistics.Mean().data<float>().Select(value => (double)value), Near);
        Assert.Equal(Enumerable.Range(0, Inputs).Select(i => moments[(i * Inputs) + i]), statistics.Importance().Select(value => (double)value), Near);
        Assert.Equal(moments, statistics.Moments().data<float>().Select(value => (double)value), Near);
    }

    [Theory]
    [InlineData(true, 1)]
    [InlineData(true, 0.25)]
    [InlineData(false, 1)]
    public void TowardsFloatGoesItsShareOfTheWayToTheLeastSquares(bool hasResidual, double share)
    {
        using var scope = NewDisposeScope();
        var weight = Random(2, Outputs, Inputs);
        var floatX = Random(3, Tokens, Inputs);
        var x = floatX + (0.2 * Random(4, Tokens, Inputs));
        var residual = 0.3 * Random(5, Tokens, Outputs);
        using var statistics = new StageStatistics(Everything);
        foreach (var (first, count) in new[] { (0, 30), (30, Tokens - 30) })
        {
            statistics.Add(x.narrow(0, first, count), floatX.narrow(0, first, count), hasResidual ? residual.narrow(0, first, count) : null);
        }

        var wanted = floatX.to(float64).matmul(weight.to(float64).t());
        wanted = hasResidual ? wanted + residual.to(float64) : wanted;
        var solution = linalg.lstsq(x.to(float64), wanted).Solution.t();
        var expected = weight.to(float64) + (share * (solution - weight.to(float64)));
        Assert.True((solution - weight).abs().max().item<double>() > 0.05);

        var actual = statistics.TowardsFloat(weight, new PtqSettings { Asymmetry = share, Dampening = 1e-9 });
        Assert.Equal(0, (actual.to(float64) - expected).abs().max().item<double>(), 1e-4);
    }

    [Fact]
    public void TowardsFloatKeepsTheWeightWhereNothingDiffersOrNothingIsReached()
    {
        using var scope = NewDisposeScope();
        var weight = Random(2, Outputs, Inputs);
        var x = Random(3, Tokens, Inputs);
        using var same = new StageStatistics(Everything);
        same.Add(x, x, null);
        Assert.True(same.TowardsFloat(weight, new PtqSettings()).equal(weight).all().item<bool>());

        // A channel that is always 0 has nothing to say about its weights.
        var dead = x.clone();
        dead.select(1, 2).zero_();
        using var partial = new StageStatistics(Everything);
        partial.Add(dead, dead + Random(4, Tokens, Inputs), null);
        var moved = partial.TowardsFloat(weight, new PtqSettings());
        Assert.True(moved.isfinite().all().item<bool>());
        Assert.True(moved.select(1, 2).equal(weight.select(1, 2)).all().item<bool>());
    }

    private static Tensor Random(long seed, params long[] shape) => randn(shape, generator: new Generator((ulong)seed));
}
