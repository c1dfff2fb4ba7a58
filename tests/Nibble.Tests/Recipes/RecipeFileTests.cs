using Nibble.Tests.Files;
using Nibble.Numerics;
using Nibble.Recipes;

namespace Nibble.Tests.Recipes;

public sealed class RecipeFileTests : IDisposable
{
    private readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    [Fact]
    public void ParseYamlReadsEveryKey()
    {
        var recipe = RecipeFile.ParseYaml(
            """
            name: mine
            rules:
              - pattern: lm_head
                weights: float
              - pattern: "*.down_proj"
                weights: { bits: 3, symmetric: false, granularity: group, groupSize: 64, scale: float32, range: mse }
                activations: { bits: 8, symmetric: false, granularity: tensor, scale: float16, observer: movingAverage }
              - pattern: "*"
                weights: { ternary: true }
                activations: float
            qat: { estimator: straightThrough, steps: 7, batchSize: 2, sequenceLength: 16, learningRate: 1e-4, scaleLearningRate: 0.5,
                   weightDecay: 0.1, warmUp: 1, finalLearningRate: 0, gradientClip: 2.5 }
            """,
            "mine.yaml");

        Assert.Equal("mine", recipe.Name);
        Assert.Equal(
            [
                new RecipeRule("lm_head", null),
                new RecipeRule(
                    "*.down_proj",
                    new QuantizationScheme(3, symmetric: false, Granularity.Group(64)),
                    new ActivationRule(new QuantizationScheme(8, symmetric: false, Granularity.Tensor) { ScalePrecision = ScalePrecision.Float16 },
                        ObserverKind.MovingAverage),
                    WeightRange.Mse),
                new RecipeRule("*", QuantizationScheme.CreateTernary(Granularity.Channel) with { ScalePrecision = ScalePrecision.Float16 }),
            ],
            recipe.Rules);
        var qat = new QatSettings
        {
            Estimator = GradientEstimator.StraightThrough,
            Steps = 7,
            BatchSize = 2,
            SequenceLength = 16,
            LearningRate = 1e-4,
            ScaleLearningRate = 0.5,
            WeightDecay = 0.1,
            WarmUp = 1,
            FinalLearningRate = 0,
            GradientClip = 2.5,
        };
        Assert.Equal(qat, recipe.Qat);
    }

    [Fact]
    public void ParseYamlPutsTheRulesOfThePresetLast()
    {
        var recipe = RecipeFile.ParseYaml("preset: w4a16-g32\nrules: [{ pattern: 'a*', weights: { bits: 8 } }]", "r");
        Assert.Equal(["a*", "lm_head", "*"], recipe.Rules.Select(rule => rule.Pattern));
        Assert.Equal("w4a16-g32", recipe.Name);
        Assert.Equal(new QuantizationScheme(8, symmetric: true, Granularity.Channel) { ScalePrecision = ScalePrecision.Float16 }, recipe.Rules[0].Weights);
    }

    [Theory]
    [InlineData("weights: { bits: 4 }, activations: { bits: 4 }", null, null)]
    [InlineData("weights: { bits: 4, method: ptq }, activations: { bits: 4, method: qat }", Method.Ptq, Method.Qat)]
    [InlineData("weights: { bits: 4, method: ptq }, activations: { bits: 4 }", Method.Ptq, null)]
    [InlineData("method: qat, weights: { bits: 4 }, activations: { bits: 4 }", Method.Qat, Method.Qat)]
    [InlineData("method: qat, weights: { bits: 4 }, activations: { bits: 4, method: ptq }", Method.Qat, Method.Ptq)]
    [InlineData("method: ptq, weights: { bits: 4 }, activations: float", Method.Ptq, null)]
    public void ParseYamlReadsTheMethodOfEachSide(string rule, Method? weights, Method? activations)
    {
        var read = RecipeFile.ParseYaml($"rules: [{{ pattern: a, {rule} }}]", "r").Rules[0];

        Assert.Equal((weights, activations), (read.WeightMethod, read.ActivationMethod));
    }

    [Fact]
    public void ToJsonOfARecipeThatNamesNoMethodHasNone() =>
        Assert.DoesNotContain("method", RecipeFile.ToJson(RecipePresets.Parse("w8a8")), StringComparison.Ordinal);

    [Fact]
    public void OneSideOfALayerIsNoHybrid()
    {
        Assert.Throws<NibbleException>(() => new RecipeRule("*", Weights: null) { WeightMethod = Method.Hybrid });
        Assert.Throws<NibbleException>(() => new RecipeRule("*", Weights: null) { ActivationMethod = Method.Hybrid });
        var fault = Assert.Throws<NibbleException>(() => RecipeFile.Load(
            folder.Write("hybrid.yaml", "name: mine\nrules: [{ pattern: a, method: hybrid, weights: { bits: 4 } }]")));
        Assert.Contains("ptq", fault.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("method: ptq, weights: { bits: 4 }, activations: { bits: 4 }", null)]
    [InlineData("weights: { bits: 4, method: qat }", "weights")]
    [InlineData("weights: { bits: 4 }, activations: { bits: 4, method: qat }", "activations")]
    public void RequirePtqRefusesTraining(string rule, string? trained)
    {
        var recipe = RecipeFile.ParseYaml($"rules: [{{ pattern: 'a*', {rule} }}]", "mine.yaml");

        var fault = Record.Exception(recipe.RequirePtq)?.Message;
        Assert.Equal(trained is null ? null
            : $"the rule for a* of the recipe 'mine' sets the method qat for {trained}, which post-training quantization cannot do; use nibble qat, or "
            + $"remove the method from the rule", fault);
    }

    [Theory]
    [InlineData("", "int8 asymmetric per token", "int8 asymmetric per token", ObserverKind.MinMax)]
    [InlineData("keyValueCache: { keys: { bits: 4 } }", "int4 symmetric per token", null, ObserverKind.MinMax)]
    [InlineData("keyValueCache: { keys: float, values: { bits: 3, symmetric: false } }", null, "int3 asymmetric per token", ObserverKind.MinMax)]
    [InlineData("keyValueCache: { keys: { bits: 4, granularity: channel, observer: percentile }, values: float }", "int4 symmetric per channel", null,
        ObserverKind.Percentile)]
    public void ParseYamlReadsTheCacheOrTakesThePresets(string yaml, string? keys, string? values, ObserverKind observer)
    {
        var cache = RecipeFile.ParseYaml("preset: w4a16-kv8\n" + yaml, "r").KeyValueCache!;
        Assert.Equal((keys, values, observer), (cache.Keys?.ToString(), cache.Values?.ToString(), cache.Observer));
    }

    [Fact]
    public void ParseYamlLeavesTheCacheFloatWhenToldSoOrNothing()
    {
        Assert.Null(RecipeFile.ParseYaml("preset: w4a16-kv8\nkeyValueCache: float", "r").KeyValueCache);
        Assert.Null(RecipeFile.ParseYaml("preset: w4a16", "r").KeyValueCache);
    }

    [Fact]
    public void LoadTakesPresetsAndFiles()
    {
        Assert.Equal("w8a8", RecipeFile.Load("w8a8").Name);
        Assert.Equal("own", RecipeFile.Load(folder.Write("own.yaml", "preset: w8a8\nname: own")).Name);
        Assert.Equal("file", RecipeFile.Load(folder.Write("file.json", """{"rules":[]}""")).Name);
        Assert.Contains("no recipe file", Refusal(folder.File("absent.yml")), StringComparison.Ordinal);
        Assert.Contains("must end in .yaml", Refusal(folder.Write("recipe.txt", "")), StringComparison.Ordinal);
        Assert.Contains("no preset", Refusal("w77"), StringComparison.Ordinal);

        static string Refusal(string name) => Assert.Throws<NibbleException>(() => RecipeFile.Load(name)).Message;
    }

    [Theory]
    [InlineData("rulez: []",
        "r.yaml, line 1, column 1: unknown key 'rulez'. Did you mean rules? The keys here are name, preset, rules, rotation, keyValueCache, ptq, qat.")]
    [InlineData("rules:\n  - pattern: a\n    weights: { bit: 4 }", "line 3, column 16: unknown key 'bit'. Did you mean bits?")]
    [InlineData("rules:\n  - pattern: a\n    weights: { bits: 9 }", "line 3, column 22: bits must be an integer from 2 to 8, found '9'.")]
    [InlineData("rules: [{ pattern: a, weights: { bits: '4' } }]", "bits must be an integer from 2 to 8, found the text '4'; write it without quotes.")]
    [InlineData("rules: [{ pattern: a, weights: { bits: 4.0 } }]", "found '4.0'")]
    [InlineData("rules: [{ pattern: a, weights: { bits: [4] } }]", "bits must be")]
    [InlineData("rules: [{ pattern: a, weights: { bits: } }]", "found ''")]
    [InlineData("rules: [{ pattern: a, weights: { symmetric: true } }]", "bits are missing")]
    [InlineData("rules: [{ pattern: a, weights: { bits: 4, symmetric: yes } }]", "symmetric must be true or false, found 'yes'")]
    [InlineData("rules: [{ pattern: a, weights: { bits: 4, granularity: grup, groupSize: 4 } }]",
        "one of tensor, channel, group, found 'grup'. Did you mean group?")]
    [InlineData("rules: [{ pattern: a, weights: { bits: 4, granularity: group } }]", "go together")]
    [InlineData("rules: [{ pattern: a, weights: { bits: 4, granularity: channel, groupSize: 4 } }]", "go together")]
    [InlineData("rules: [{ pattern: a, weights: { bits: 4, groupSize: 0 } }]", "groupSize must be an integer of at least 1")]
    [InlineData("rules: [{ pattern: a, weights: { bits: 2, ternary: true } }]", "take no bits")]
    [InlineData("rules: [{ pattern: a, weights: { ternary: true, symmetric: false } }]", "ternary weights are always symmetric")]
    [InlineData("rules: [{ pattern: a, weights: int4 }]", "weights must be float or a mapping with the keys bits")]
    [InlineData("rules: [{ pattern: a, weights: [] }]", "must be a mapping")]
    [InlineData("rules: [{ pattern: a }]", "the rule for a needs weights")]
    [InlineData("rules: [{ pattern: a, weights: { bits: 4, method: qta } }]", "method must be one of ptq, qat, found 'qta'.")]
    [InlineData("rules: [{ pattern: a, method: both, weights: { bits: 4 } }]", "method must be one of ptq, qat, found 'both'")]
    [InlineData("rules: [{ pattern: a, method: qat, weights: float }]", "a layer that stays float has no method")]
    [InlineData("preset: w8a8\nkeyValueCache: { keys: { bits: 8, method: ptq } }", "unknown key 'method'")]
    [InlineData("rules: [{ weights: float }]", "a rule needs a pattern")]
    [InlineData("rules: [{ pattern: '', weights: float }]", "pattern must be text that is not empty")]
    [InlineData("rules: [7]", "each of rules must be a mapping")]
    [InlineData("rules: {}", "rules must be a list")]
    [InlineData("rules: [{ pattern: a, weights: float, activations: { bits: 8, granularity: channel } }]",
        "granularity must be one of token, tensor, found 'channel'")]
    [InlineData("name: x", "needs rules or a preset")]
    [InlineData("preset: w44", "line 1, column 9: There is no preset 'w44'")]
    [InlineData("preset: w8a8\nkeyValueCache: { }", "line 2, column 16: keyValueCache needs keys or values")]
    [InlineData("preset: w8a8\nkeyValueCache: { keys: float }", "keyValueCache needs keys or values")]
    [InlineData("preset: w8a8\nkeyValueCache: int8", "keyValueCache must be float or a mapping with the keys keys, values")]
    [InlineData("preset: w8a8\nkeyValueCache: { key: float }", "unknown key 'key'. Did you mean keys?")]
    [InlineData("preset: w8a8\nkeyValueCache: { keys: { symmetric: true } }", "bits are missing")]
    [InlineData("preset: w8a8\nkeyValueCache: { keys: { bits: 1 } }", "bits must be an integer from 2 to 8, found '1'")]
    [InlineData("preset: w8a8\nkeyValueCache: { keys: { bits: 8, granularity: tensor } }", "one of token, channel, found 'tensor'")]
    [InlineData("preset: w8a8\nkeyValueCache: { keys: { bits: 8, observer: mse } }", "keys per token have no fixed range")]
    [InlineData("preset: w8a8\nkeyValueCache: { values: { bits: 8, granularity: channel } }",
        "unknown key 'granularity'. The keys here are bits, symmetric, scale.")]
    [InlineData("preset: w8a8\nqat: { steps: 0 }", "steps must be an integer of at least 1, found '0'")]
    [InlineData("preset: w8a8\nqat: { warmUp: 1.5 }", "warmUp must be a number of at least 0 and at most 1, found '1.5'")]
    [InlineData("preset: w8a8\nqat:\n  learningRate: 0,001", "line 3, column 17: learningRate must be a number of at least 0, found '0,001'; write 0.001.")]
    [InlineData("preset: w8a8\nqat: { learningRate: 0,001 }", "the comma in '0,001' ends the value of learningRate; write 0.001.")]
    [InlineData("{\"preset\": \"w8a8\", \"qat\": {\"learningRate\": \"0,001\"}}",
        "learningRate must be a number of at least 0, found the text '0,001'; write it without quotes and as 0.001.")]
    [InlineData("preset: w8a8\nqat: { steps: 1_000 }", "found '1_000'; write 1000.")]
    [InlineData("preset: w8a8\nqat:\n  steps: 1,000", "found '1,000'; write 1000.")]
    [InlineData("preset: w8a8\nptq:\n  windows: 1,5", "line 3, column 12: windows must be an integer of at least 1, found '1,5'")]
    [InlineData("rules: [{ pattern: a, weights: { bits: 4 }, algorithms: gptq }]", "algorithms must be a list of words")]
    [InlineData("preset: w8a8\nqat: { learningRate: NaN }", "found 'NaN'")]
    [InlineData("preset: w8a8\nqat: { learningRate: Infinity }", "found 'Infinity'")]
    [InlineData("preset: w8a8\nqat: { weightDecay: 1e39 }", "found '1e39', which is too large for 32 bits")]
    [InlineData("preset: w8a8\nptq: { learningRate: 1e39 }", "found '1e39', which is too large for 32 bits")]
    [InlineData("preset: w8a8\nqat: { gradientClip: 0 }", "gradientClip must be")]
    [InlineData("preset: w8a8\npreset: w8a8", "line 2, column 1: not valid YAML")]
    [InlineData("rules: [", "not valid YAML")]
    [InlineData("rules:\n  - pattern: *.down_proj", "line 2, column 14")]
    [InlineData("rules: &a [*a, *a]", "quote a pattern that starts with *")]
    [InlineData("", "expected one YAML document, found 0")]
    [InlineData("--- {rules: []}\n--- {rules: []}", "expected one YAML document, found 2")]
    [InlineData("7", "expected a mapping")]
    [InlineData("? [a]\n: b", "unknown key")]
    public void ParseYamlSaysWhereAndWhat(string yaml, string complaint) =>
        Assert.Contains(complaint, Assert.Throws<NibbleException>(() => RecipeFile.ParseYaml(yaml, "r.yaml")).Message, StringComparison.Ordinal);

    [Fact]
    public void ParseYamlRefusesWhatWouldExhaustTheMachine()
    {
        Assert.Contains("deeper than 16", Refusal("rules: " + new string('[', 200_000)), StringComparison.Ordinal);
        Assert.Contains("at most 1048576", Refusal(new string(' ', (1 << 20) + 1)), StringComparison.Ordinal);

        static string Refusal(string yaml) => Assert.Throws<NibbleException>(() => RecipeFile.ParseYaml(yaml, "r.yaml")).Message;
    }

    [Fact]
    public void ParseYamlOfAnyTextReadsOrThrowsNibbleException() =>
        Gen.OneOf(Gen.OneOf("rules", ": ", "\n", "  ", "- ", "[", "]", "{", "}", "pattern", "weights", "bits", "4", "*", "&a", "!!x", "'", "\"", "|", ">", "%",
            "?", "#", ","), Gen.String[0, 3])
            .Array[0, 30]
            .Sample(parts =>
            {
                try
                {
                    Assert.NotNull(RecipeFile.ParseYaml(string.Concat(parts), "any"));
                }
                catch (NibbleException exception)
                {
                    Assert.StartsWith("any", exception.Message, StringComparison.Ordinal);
                }
            });

    [Fact]
    public void ToJsonThenParseYamlIsTheIdentity() => AnyRecipe.Recipe.Sample(recipe =>
    {
        var json = RecipeFile.ToJson(recipe);
        var read = RecipeFile.ParseYaml(json, "json");
        Assert.Equal(recipe.Name, read.Name);
        Assert.Equal(recipe.Rules, read.Rules);
        Assert.Equal(recipe.Qat, read.Qat);
        Assert.Equal(recipe.Ptq, read.Ptq);
        Assert.Equal(recipe.Rotation, read.Rotation);
        Assert.Equal(recipe.KeyValueCache, read.KeyValueCache);
        Assert.Equal(json, RecipeFile.ToJson(read));
    });

    [Fact]
    public void ToJsonRefusesWhatNoFileCanSay()
    {
        Refuse(new RecipeRule("a", new QuantizationScheme(4, true, Granularity.Token)));
        Refuse(new RecipeRule("a", null, new ActivationRule(new QuantizationScheme(4, true, Granularity.Channel))));
        Refuse(new RecipeRule("a", null, new ActivationRule(QuantizationScheme.CreateTernary(Granularity.Token))));

        static void Refuse(RecipeRule rule) =>
            Assert.Contains("The rule for a has", Assert.Throws<NibbleException>(() => RecipeFile.ToJson(new Recipe("n", [rule]))).Message,
                StringComparison.Ordinal);
    }
}
