using Nibble.Onnx.Tests.Shared;
using Nibble.Recipes;
using Nibble.Tests.Shared;
using Nibble.Torch.Models;
using Nibble.Torch.Ptq;
using Nibble.Torch.Tests.Shared;

namespace Nibble.Onnx.Tests.Decoders;

/// <summary>A real model on real text, in ONNX Runtime and in the simulation.</summary>
public sealed class DecoderRealModelTests : IDisposable
{
    private const int Context = 256;
    private const int Windows = 4;

    private readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    [Fact]
    public void FloatHasTheSimulationsLogits()
    {
        using var both = BothWays.Open(SharedData.Require("stories260K"), folder);
        Assert.InRange(Compare(both), 0, 1e-3f);
    }

    [Theory]
    [InlineData("w4a16-g32")]
    [InlineData("w8a16-g32")]
    [InlineData("w3a16-g32")]
    [InlineData("w2a16-g32")]
    [InlineData("wta16-g32")]
    public void QuantizedWeightsHaveTheSimulationsLogits(string recipe)
    {
        using var source = LoadedModel.Open(SharedData.Require("stories260K"));
        using var both = BothWays.Open(PostTrainingQuantizer.Run(source, RecipePresets.Parse(recipe), data: null, seed: 1), folder);
        Assert.InRange(Compare(both), 0, 1e-3f);
    }

    private static float Compare(BothWays both)
    {
        var text = Texts.TinyStories("valid.txt", both.Simulated);
        float largest = 0;
        for (var i = 0; i < Windows; i++)
        {
            largest = MathF.Max(largest, both.Difference([.. text.Window(i * Context, Context).Select(id => (int)id)]));
        }

        return largest;
    }
}
