using Nibble.Models;
using Nibble.Torch.Models;
using static TorchSharp.torch;

namespace Nibble.Torch.Tests.Models;

public class SentencePoolingTests
{
    // Two texts of three tokens; the second has one token of padding, whose values would decide if it counted.
    private static readonly float[] Tokens = [1, 2, 3, 4, 5, 9, -1, -3, -2, -1, 100, 100];
    private static readonly float[] Pair = [3, 4, 0, 0];

    [Theory]
    [InlineData(Pooling.Mean, new float[] { 3, 5, -1.5f, -2 })]
    [InlineData(Pooling.FirstToken, new float[] { 1, 2, -1, -3 })]
    [InlineData(Pooling.Max, new float[] { 5, 9, -1, -1 })]
    public void ApplyLeavesPaddingOut(Pooling pooling, float[] expected)
    {
        using var scope = NewDisposeScope();
        var mask = arange(6).reshape(2, 3) < 5;

        Assert.Equal(expected, SentencePooling.Apply(tensor(Tokens).reshape(2, 3, 2), mask, pooling, normalizes: false).data<float>().ToArray());
    }

    [Theory]
    [InlineData(Pooling.Mean)]
    [InlineData(Pooling.FirstToken)]
    [InlineData(Pooling.Max)]
    public void ApplyWithoutAMaskIsAsWithAFullOne(Pooling pooling)
    {
        using var scope = NewDisposeScope();
        var tokens = tensor(Tokens).reshape(2, 3, 2);

        Assert.Equal(
            SentencePooling.Apply(tokens, ones(2, 3, dtype: ScalarType.Bool), pooling, normalizes: true).data<float>().ToArray(),
            SentencePooling.Apply(tokens, null, pooling, normalizes: true).data<float>().ToArray());
    }

    [Fact]
    public void ApplyScalesToLengthOneAndLeavesNothingAtZero()
    {
        using var scope = NewDisposeScope();
        var tokens = tensor(Pair).reshape(2, 1, 2);

        Assert.Equal([0.6f, 0.8f, 0f, 0f], SentencePooling.Apply(tokens, null, Pooling.Mean, normalizes: true).data<float>().ToArray());
    }
}
