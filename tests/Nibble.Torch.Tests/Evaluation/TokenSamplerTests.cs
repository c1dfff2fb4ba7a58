using Nibble.Torch.Evaluation;

namespace Nibble.Torch.Tests.Evaluation;

public sealed class TokenSamplerTests
{
    private static readonly float[] Logits = [0, MathF.Log(6), MathF.Log(3), float.NegativeInfinity];

    [Theory]
    [InlineData(1, 1, 0.1, 0.6, 0.3)]
    [InlineData(1, 0.85, 0, 2 / 3.0, 1 / 3.0)]
    [InlineData(1, 0.6, 0, 1, 0)]
    [InlineData(0.5, 1, 1 / 46.0, 36 / 46.0, 9 / 46.0)]
    [InlineData(0, 1, 0, 1, 0)]
    public void PickDrawsByTemperatureAndNucleus(double temperature, double topP, double first, double second, double third)
    {
        const int Draws = 20_000;
        var sampler = new TokenSampler(new GenerationOptions(Temperature: temperature, TopP: topP, Seed: 3));
        var counts = new int[Logits.Length];
        for (var i = 0; i < Draws; i++)
        {
            counts[sampler.Pick(Logits)]++;
        }

        // Four standard deviations of the most uncertain share.
        Assert.All((double[])[first, second, third], (share, token) => Assert.Equal(share, counts[token] / (double)Draws, 0.015));
        Assert.Equal(0, counts[^1]);
    }

    [Fact]
    public void PickTakesTheFirstOfEqualLogitsWithoutTemperature() =>
        Assert.Equal(1, new TokenSampler(new GenerationOptions(Temperature: 0)).Pick([1, 2, 2, 0]));
}
