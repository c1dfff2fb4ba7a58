using Nibble.Torch.Models;
using Nibble.Artifacts;
using Nibble.Numerics;
using Nibble.Recipes;
using Nibble.Torch.Layers;
using Nibble.Torch.Models.Decoders;
using Nibble.Torch.Tests.Shared;
using static TorchSharp.torch;

namespace Nibble.Torch.Tests.Models;

public sealed class KeyValueQuantizersTests : IDisposable
{
    private readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    [Fact]
    public void ChannelKeysEqualTheScalarQuantizer() =>
        Gen.Select(Gen.Int[2, 8], Gen.Bool, Gen.Float[0.01f, 3].Array[6], Gen.Float[-300, 300].Array[60]).Sample((bits, symmetric, scales, values) =>
        {
            using var scope = NewDisposeScope();
            var scheme = new QuantizationScheme(bits, symmetric, Granularity.Channel);
            var zeroPoints = symmetric ? [] : Array.ConvertAll(scales, scale => (sbyte)(scale > 1 ? scheme.Codes.Max : scheme.Codes.Min + 1));
            using var quantizer = new ChannelKeyQuantizer(scheme, new KeyQuantization("k", 2, scales, zeroPoints), CPU);

            // Two sequences, 2 heads, 5 tokens, 3 channels: all but the tokens and sequences choose the parameters.
            var expected = values.Select((value, i) =>
            {
                var channel = (i / 15 % 2 * 3) + (i % 3);
                return ScalarQuantizer.FakeQuantize(value, new QuantizationParameters(scales[channel], symmetric ? 0 : zeroPoints[channel]), scheme.Codes);
            });
            Bits.Equal(expected, quantizer.Apply(tensor(values, 2, 2, 5, 3)));
        });

    [Fact]
    public void TokenVectorsEqualTheScalarQuantizerEachHeadByItself()
    {
        using var model = new DecoderModel(new TinyLlama().Config);
        var block = model.Blocks[1];
        Gen.Select(Gen.Int[2, 8], Gen.Bool, Gen.Float[-9, 9].Array[60]).Sample(
            (bits, symmetric, values) =>
            {
                using var scope = NewDisposeScope();
                var scheme = new QuantizationScheme(bits, symmetric, Granularity.Token);
                KeyValueQuantizers.Set(block, new KeyValueCacheRule(scheme, scheme), keys: null);
                var expected = values.Chunk(3).SelectMany(vector =>
                {
                    var parameters = QuantizationParameters.FromRange(new ValueRange(vector.Min(), vector.Max()), scheme);
                    return vector.Select(value => ScalarQuantizer.FakeQuantize(value, parameters, scheme.Codes));
                }).ToArray();
                Bits.Equal(expected, block.Attention.KeyQuantizer!.Apply(tensor(values, 2, 2, 5, 3)));
                Bits.Equal(expected, block.Attention.ValueQuantizer!.Apply(tensor(values, 2, 2, 5, 3)));
            },
            threads: 1);
    }

    [Fact]
    public void ChannelKeysPassTheGradientStraightThrough()
    {
        using var scope = NewDisposeScope();
        using var quantizer = new ChannelKeyQuantizer(new QuantizationScheme(4, true, Granularity.Channel), new KeyQuantization("k", 1, [1, 2], []), CPU);
        var x = tensor(new[] { -3.4f, 99 }, 1, 1, 1, 2).requires_grad_();
        var y = quantizer.Apply(x);
        Assert.Equal([-3f, 14], Bits.Of(y));
        (y * tensor(new[] { 1f, 2 })).sum().backward();
        Assert.Equal([1f, 2], Bits.Of(x.grad!));
    }

    [Fact]
    public void SetFollowsTheRule()
    {
        using var model = new TinyLlama().Open(folder);
        var attention = model.Llama().Blocks[0].Attention;
        var keys = new KeyQuantization("k", 2, [.. Enumerable.Repeat(1f, 16)], [.. new sbyte[16]]);
        KeyValueQuantizers.Set(model.Llama().Blocks[0], RecipePresets.Parse("w16a16-kv4c").KeyValueCache, keys);
        Assert.IsType<ChannelKeyQuantizer>(attention.KeyQuantizer);
        Assert.IsType<DynamicInputQuantizer>(attention.ValueQuantizer);
        KeyValueQuantizers.Set(model.Llama().Blocks[0], new KeyValueCacheRule(new QuantizationScheme(4, true, Granularity.Token), null), null);
        Assert.IsType<DynamicInputQuantizer>(attention.KeyQuantizer);
        Assert.Null(attention.ValueQuantizer);
        KeyValueQuantizers.Set(model.Llama().Blocks[0], null, null);
        Assert.Null(attention.KeyQuantizer);
    }
}
