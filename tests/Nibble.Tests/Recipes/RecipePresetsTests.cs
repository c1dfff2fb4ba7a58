using Nibble.Numerics;
using Nibble.Recipes;

namespace Nibble.Tests.Recipes;

public class RecipePresetsTests
{
    private static readonly QuantizationScheme DynamicInt8 = new(8, symmetric: true, Granularity.Token);
    private static readonly QuantizationScheme StaticInt8 = new(8, symmetric: false, Granularity.Tensor);

    public static TheoryData<string, QuantizationScheme, ActivationRule?, WeightRange> Presets => new()
    {
        { "w4a16-g32", Half(4, false, Granularity.Group(32)), null, WeightRange.MinMax },
        { "w8a16-g32", Half(8, false, Granularity.Group(32)), null, WeightRange.MinMax },
        { "w3a16-g128-sym", Half(3, true, Granularity.Group(128)), null, WeightRange.MinMax },
        { "w2a16-g32-mse", Half(2, false, Granularity.Group(32)), null, WeightRange.Mse },
        { "w5a16", Half(5, true, Granularity.Channel), null, WeightRange.MinMax },
        { "w8a8", Half(8, true, Granularity.Channel), new ActivationRule(DynamicInt8), WeightRange.MinMax },
        { "w8a8-static", Half(8, true, Granularity.Channel), new ActivationRule(StaticInt8), WeightRange.MinMax },
        { "w8a8-static-percentile", Half(8, true, Granularity.Channel), new ActivationRule(StaticInt8, ObserverKind.Percentile), WeightRange.MinMax },
        { "w8a8-static-mse", Half(8, true, Granularity.Channel), new ActivationRule(StaticInt8, ObserverKind.Mse), WeightRange.MinMax },
        { "w8a8-mse-static", Half(8, true, Granularity.Channel), new ActivationRule(StaticInt8), WeightRange.Mse },
        { "w8a8-static-mse-mse", Half(8, true, Granularity.Channel), new ActivationRule(StaticInt8, ObserverKind.Mse), WeightRange.Mse },
        { "w8a8-static-entropy", Half(8, true, Granularity.Channel), new ActivationRule(StaticInt8, ObserverKind.Entropy), WeightRange.MinMax },
        { "w8a8-static-average", Half(8, true, Granularity.Channel), new ActivationRule(StaticInt8, ObserverKind.MovingAverage), WeightRange.MinMax },
        { "w4a4-g32", Half(4, false, Granularity.Group(32)), new ActivationRule(new QuantizationScheme(4, true, Granularity.Token)), WeightRange.MinMax },
        { "wta8-g64", QuantizationScheme.CreateTernary(Granularity.Group(64)) with { ScalePrecision = ScalePrecision.Float16 }, new ActivationRule(DynamicInt8),
            WeightRange.MinMax },
    };

    [Theory]
    [MemberData(nameof(Presets))]
    public void ParseFollowsTheGrammar(string name, QuantizationScheme weights, ActivationRule? activations, WeightRange range)
    {
        var recipe = RecipePresets.Parse(name);
        Assert.Equal(name, recipe.Name);
        Assert.Equal(QatSettings.ForWidth(recipe.Rules[^1].Weights!.Bits), recipe.Qat);
        Assert.Equal(new RecipeRule("*", weights, activations, range), recipe.RuleFor("model.layers.0.mlp.down_proj"));
        Assert.Null(recipe.RuleFor("lm_head"));
    }

    [Theory]
    [InlineData("w4a16-g32-gptq", "gptq", WeightRange.Search, Rotation.None)]
    [InlineData("w4a16-g128-awq", "awq, rtn", WeightRange.Mse, Rotation.None)]
    [InlineData("w8a8-smoothquant", "smoothquant, rtn", WeightRange.MinMax, Rotation.None)]
    [InlineData("w8a8-smoothquant-gptq", "smoothquant, gptq", WeightRange.Search, Rotation.None)]
    [InlineData("w2a16-g32-importance-signround", "importance, signround", WeightRange.Mse, Rotation.None)]
    [InlineData("w4a8-g32-rotated-gptq", "gptq", WeightRange.Search, Rotation.Hadamard)]
    [InlineData("w4a16-g32-hqq-debias", "hqq, debias", WeightRange.MinMax, Rotation.None)]
    public void ParseKnowsAlgorithms(string name, string algorithms, WeightRange range, Rotation rotation)
    {
        var recipe = RecipePresets.Parse(name);
        var rule = recipe.RuleFor("model.layers.0.mlp.down_proj")!;
        Assert.Equal(algorithms, string.Join(", ", rule.Algorithms.Names));
        Assert.Equal(range, rule.Range);
        Assert.Equal(rotation, recipe.Rotation);
    }

    [Theory]
    [InlineData("w4a16-g32-kv8", 8, "token")]
    [InlineData("w4a16-kv4c-g32", 4, "channel")]
    [InlineData("w8a8-static-kv2", 2, "token")]
    [InlineData("w16a16-kv4", 4, "token")]
    [InlineData("w16a16-kv8c", 8, "channel")]
    public void ParseKnowsTheCache(string name, int bits, string keys)
    {
        var recipe = RecipePresets.Parse(name);
        Assert.Equal($"int{bits} asymmetric per {keys}", recipe.KeyValueCache!.Keys!.ToString());
        Assert.Equal(new QuantizationScheme(bits, symmetric: false, Granularity.Token), recipe.KeyValueCache.Values);
        Assert.Equal(ObserverKind.MinMax, recipe.KeyValueCache.Observer);
        Assert.Equal(name.StartsWith("w16", StringComparison.Ordinal), recipe.RuleFor("model.layers.0.mlp.down_proj") is null);
    }

    [Theory]
    [InlineData("hybrid-weights-ptq-activations-qat", "w4a4-g32-smoothquant-gptaq-static-mse")]
    [InlineData("w4a4-g32-hybrid-weights-ptq-activations-qat", "w4a4-g32-smoothquant-gptaq-static-mse")]
    [InlineData("w3a8-g64-awq-static-percentile-hybrid-weights-ptq-activations-qat", "w3a8-g64-awq-static-percentile")]
    public void ParseOfRangesByQatTrainsThemAroundTheBasis(string name, string basis)
    {
        var (recipe, expected) = (RecipePresets.Parse(name), RecipePresets.Parse(basis));

        Assert.Equal(name, recipe.Name);
        Assert.True(recipe.IsHybrid);
        Assert.Equal(QatSettings.ForRanges, recipe.Qat);
        Assert.Equal([expected.Rules[0], expected.Rules[1] with { WeightMethod = Method.Ptq, ActivationMethod = Method.Qat }], recipe.Rules);
    }

    [Theory]
    [InlineData("hybrid-attention-qat", "w4a16-g32-gptaq", Method.Qat, Method.Ptq)]
    [InlineData("hybrid-mlp-qat", "w4a16-g32-gptaq", Method.Ptq, Method.Qat)]
    [InlineData("w3a16-g32-hybrid-attention-qat", "w3a16-g32-gptaq", Method.Qat, Method.Ptq)]
    [InlineData("w2a16-g32-stretched-hybrid-mlp-qat", "w2a16-g32-stretched", Method.Ptq, Method.Qat)]
    [InlineData("wta8-g32-static-hybrid-mlp-qat", "wta8-g32-static", Method.Ptq, Method.Qat)]
    public void ParseOfAPartByQatDividesTheBasis(string name, string basis, Method attention, Method others)
    {
        var (recipe, expected) = (RecipePresets.Parse(name), RecipePresets.Parse(basis));

        Assert.Equal((name, true, expected.Qat), (recipe.Name, recipe.IsHybrid, recipe.Qat));
        Assert.Null(recipe.RuleFor("lm_head"));
        RequireMethod(attention, "model.layers.0.self_attn.q_proj");
        RequireMethod(attention, "encoder.layer.1.attention.output.dense");
        RequireMethod(others, "model.layers.0.mlp.down_proj");
        RequireMethod(others, "encoder.layer.1.output.dense");

        void RequireMethod(Method method, string layer) =>
            Assert.Equal(expected.Rules[^1] with { WeightMethod = method, ActivationMethod = expected.Rules[^1].Activations is null ? null : method },
                recipe.RuleFor(layer)! with { Pattern = "*" });
    }

    [Theory]
    [InlineData("w4a8-g32-encoder", "w4a8-g32", 4)]
    [InlineData("w2a16-encoder-g32", "w2a16-g32", 2)]
    [InlineData("w4a8-g32-encoder-hybrid-weights-ptq-activations-qat", "w4a8-g32-hybrid-weights-ptq-activations-qat", 4)]
    [InlineData("w3a16-encoder-hybrid-attention-qat", "w3a16-hybrid-attention-qat", 3)]
    public void ParseForAnEncoderChangesTheTrainingAlone(string name, string basis, int bits)
    {
        var (recipe, expected) = (RecipePresets.Parse(name), RecipePresets.Parse(basis));
        Assert.Equal(expected.Rules, recipe.Rules);
        Assert.Equal(expected.Ptq, recipe.Ptq);
        Assert.Equal(QatSettings.ForEncoder(bits), recipe.Qat);
        recipe.Qat.Validate();
    }

    [Fact]
    public void IsHybridWhereASideIsLeftToPtq()
    {
        var rule = RecipePresets.Parse("w4a4-g32").Rules[^1];

        Assert.False(Of(rule));
        Assert.False(Of(rule with { WeightMethod = Method.Qat, ActivationMethod = Method.Qat }));
        Assert.True(Of(rule with { WeightMethod = Method.Ptq }));
        Assert.True(Of(rule with { ActivationMethod = Method.Ptq }));

        static bool Of(RecipeRule rule) => new Recipe("any", [rule]).IsHybrid;
    }

    [Fact]
    public void NamesAreAllPresets() => Assert.All(RecipePresets.Names, name => Assert.Equal(name, RecipePresets.Parse(name).Name));

    [Theory]
    [InlineData("w4a16-g23x", "The option 'g23x'")]
    [InlineData("w4a16-g0", "The option 'g0'")]
    [InlineData("w4a16-g-1", "The option 'g'")]
    [InlineData("w4a16-g32-g32", "repeated")]
    [InlineData("w8a8-static-static", "repeated")]
    [InlineData("w8a8-percentile", "misplaced")]
    [InlineData("w4a16-", "The option ''")]
    [InlineData("w4a16-static", "stay in float")]
    [InlineData("w4a16-sym", "-sym applies only to weights in groups")]
    [InlineData("wta16-g32-sym", "-sym applies only to weights in groups")]
    [InlineData("w4a16g32", "Did you mean w4a16-g32?")]
    [InlineData("w9a16", "Presets in common use: w8a16-g32")]
    [InlineData("w1a16", "A preset is w{2..8 or t for ternary}")]
    [InlineData("W4a16", "no preset 'W4a16'")]
    [InlineData("", "no preset ''")]
    [InlineData("w4a16\n", "no preset")]
    [InlineData("w4a16-gptq-awq", "'awq' is out of order or excluded by an earlier one")]
    [InlineData("w4a16-awq-smoothquant", "'smoothquant' is out of order or excluded by an earlier one")]
    [InlineData("w4a16-gptq-gptq", "'gptq' is out of order or excluded by an earlier one")]
    [InlineData("w4a16-rotated-rotated", "repeated")]
    [InlineData("w4a16-kv9", "The option 'kv9'")]
    [InlineData("w4a16-kv", "The option 'kv'")]
    [InlineData("w4a16-kv8x", "The option 'kv8x'")]
    [InlineData("w4a16-kv4-kv4", "repeated")]
    [InlineData("w4a16-g32-hybrid-weights-ptq-activations-qat", "but w4a16-g32 keeps activations in float; write for example w4a4-g32")]
    [InlineData("w4a16-hybrid", "The option 'hybrid' is unknown")]
    [InlineData("hybrid-heads-qat", "no preset 'hybrid-heads-qat'")]
    [InlineData("w9a16-hybrid-mlp-qat", "no preset 'w9a16")]
    [InlineData("-hybrid-mlp-qat", "no preset")]
    [InlineData("w16a16", "leaves weights and activations in float, so a -kv option such as -kv8 must follow")]
    [InlineData("w16a16-g32", "leaves weights and activations in float")]
    [InlineData("w16a16-mse-kv8", "and nothing else")]
    [InlineData("w16a8-kv8", "no preset 'w16a8-kv8'. A preset is")]
    public void ParseSaysWhatIsWrong(string name, string complaint) =>
        Assert.Contains(complaint, Assert.Throws<NibbleException>(() => RecipePresets.Parse(name)).Message, StringComparison.Ordinal);

    private static QuantizationScheme Half(int bits, bool symmetric, Granularity granularity) =>
        new(bits, symmetric, granularity) { ScalePrecision = ScalePrecision.Float16 };
}
