using Nibble.Numerics;
using Nibble.Recipes;

namespace Nibble.Tests.Recipes;

public class KeyValueCacheRuleTests
{
    private static readonly QuantizationScheme Token = new(8, true, Granularity.Token);

    [Fact]
    public void ConstructorRefusesWhatACacheCannotHave()
    {
        Refuse("both stay in float", null, null);
        Refuse("Keys are quantized", new QuantizationScheme(8, true, Granularity.Tensor), Token);
        Refuse("Keys are quantized", QuantizationScheme.CreateTernary(Granularity.Token), Token);
        Refuse("Values are quantized", Token, new QuantizationScheme(8, true, Granularity.Channel));
        Refuse("Values are quantized", Token, QuantizationScheme.CreateTernary(Granularity.Token));

        static void Refuse(string complaint, QuantizationScheme? keys, QuantizationScheme? values) =>
            Assert.Contains(complaint, Assert.Throws<ArgumentException>(() => new KeyValueCacheRule(keys, values)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void ObserverBelongsToKeysPerChannel()
    {
        var channel = new KeyValueCacheRule(new QuantizationScheme(4, true, Granularity.Channel), null, ObserverKind.Mse);
        Assert.True(channel.HasStaticKeys);
        Assert.Equal(ObserverKind.Mse, channel.Observer);
        Assert.Equal(new KeyValueCacheRule(Token, Token), new KeyValueCacheRule(Token, Token, ObserverKind.Mse));
        Assert.False(new KeyValueCacheRule(Token, null).HasStaticKeys);
        Assert.False(new KeyValueCacheRule(null, Token).HasStaticKeys);
    }
}
