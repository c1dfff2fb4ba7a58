using Nibble.Numerics;
using Nibble.Torch.Layers;
using Nibble.Torch.Tests.Shared;
using static TorchSharp.torch;

namespace Nibble.Torch.Tests.Layers;

public sealed class WeightGroupsTests
{
    private static readonly Gen<Granularity> Granularities = Gen
        .OneOf(Gen.Const(Granularity.Tensor), Gen.Const(Granularity.Channel), Gen.Int[1, 20].Select(Granularity.Group));

    [Fact]
    public void SplitPutsEachValueInTheGroupOfItsScaleAndJoinBringsItBack() =>
        Gen.Select(Gen.Int[1, 5], Gen.Int[1, 40], Granularities).Sample((rows, columns, granularity) =>
        {
            using var scope = NewDisposeScope();
            var scheme = new QuantizationScheme(4, symmetric: true, granularity);
            var groups = new WeightGroups(rows, columns, granularity);
            var values = Enumerable.Range(1, rows * columns).Select(value => (float)value).ToArray();
            var split = groups.Split(tensor(values).view(rows, columns));

            var count = QuantizedTensor.GroupCount(rows, columns, granularity);
            Assert.Equal([count, groups.Length], split.shape);
            Assert.Equal(count, groups.Count);
            var reference = new QuantizedTensor(rows, columns, scheme, new sbyte[rows * columns], new float[count], []);
            var expected = Enumerable.Range(0, count).Select(_ => new List<float>()).ToArray();
            for (var i = 0; i < values.Length; i++)
            {
                var group = granularity is PerTensor ? 0 : (i / columns * reference.GroupsPerRow) + (i % columns / reference.GroupLength);
                expected[group].Add(values[i]);
            }

            var found = Bits.Of(split);
            for (var group = 0; group < count; group++)
            {
                var row = found.AsSpan(group * groups.Length, groups.Length);
                Assert.Equal(expected[group], row[..expected[group].Count].ToArray());
                Assert.Equal(-1, row[expected[group].Count..].IndexOfAnyExcept(0f));
            }

            var joined = groups.Join(split);
            Assert.Equal([rows, columns], joined.shape);
            Assert.Equal(values, Bits.Of(joined));
        });

    [Fact]
    public void SplitAndJoinCarryTheGradientOfEachValue()
    {
        using var scope = NewDisposeScope();
        var groups = new WeightGroups(2, 5, Granularity.Group(3));
        var weight = zeros(2, 5).requires_grad_();
        var factors = arange(10, dtype: float32).view(2, 5);
        (groups.Join(groups.Split(weight) * 2) * factors).sum().backward();
        Assert.Equal(Bits.Of(factors * 2), Bits.Of(weight.grad!));
    }
}
