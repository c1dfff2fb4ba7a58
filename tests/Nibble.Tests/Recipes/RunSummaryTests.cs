using Nibble.Numerics;
using Nibble.Recipes;

namespace Nibble.Tests.Recipes;

/// <summary>What a recipe says without effect, and what makes a result worse than it looks, is said.</summary>
public sealed class RunSummaryTests
{
    private const string Query = "model.layers.0.self_attn.q_proj";
    private const string Down = "model.layers.0.mlp.down_proj";

    private static readonly ModelLayer[] Layers = [new(Query, 64, 512), new("model.layers.0.mlp.up_proj", 64, 512), new(Down, 512, 172),
        new("lm_head", 512, 512)];
    private static readonly QuantizationScheme Int4 = new(4, symmetric: true, Granularity.Channel);

    public static TheoryData<string, Method> Presets
    {
        get
        {
            var data = new TheoryData<string, Method>();
            foreach (var name in RecipePresets.Names.Concat(
                ["w3a16-g32-importance", "w4a16-g32-hqq", "w4a16-g32-mse", "w8a8-smoothquant-static", "w2a16-g32-gptaq-signround", "w4a16-g32-gptaq-kv8c"]))
            {
                data.Add(name, Method.Ptq);
                data.Add(name, Method.Qat);
            }

            return data;
        }
    }

    /// <summary>A preset says nothing of its own that could be without effect, but for algorithms of post-training quantization where weights are
    /// trained.</summary>
    [Theory]
    [MemberData(nameof(Presets))]
    public void PresetsAreSilentWhereTheModelFits(string name, Method method)
    {
        var recipe = RecipePresets.Parse(name);
        var layers = Layers.Select(layer => layer with { Columns = 512 }).ToArray();
        foreach (var tied in new[] { false, true })
        {
            var facts = new RunFacts(method, tied ? layers[..^1] : layers)
            {
                OutOfReach = tied ? [new KeptLayer("lm_head", "it is tied")] : [],
                CalibrationPieces = 64,
                CalibrationTokens = 64 * 256,
                WindowTokens = 256,
                Epochs = 3,
            };
            var summary = RunSummary.Of(recipe, facts);
            var algorithms = summary.Warnings.Where(warning => warning.Contains("its weights are trained", StringComparison.Ordinal)).ToList();
            Assert.Equal(algorithms, summary.Warnings);
            Assert.Equal(method == Method.Qat && !recipe.IsHybrid && recipe.Rules[^1].Algorithms != WeightAlgorithms.RoundToNearest, algorithms.Count > 0);
            Assert.Equal(3, summary.Quantized.Count);
            Assert.Equal("lm_head", Assert.Single(summary.Kept).Name);
        }
    }

    [Fact]
    public void LayersAreListedWithTheirSchemesOrReasons()
    {
        var recipe = new Recipe("mine",
        [
            new RecipeRule("*.down_proj", Weights: null),
            new RecipeRule("*_proj", new QuantizationScheme(4, symmetric: false, Granularity.Group(32)),
                new ActivationRule(new QuantizationScheme(8, symmetric: true, Granularity.Token)))
            {
                Algorithms = WeightAlgorithms.Parse(["smoothquant", "gptq"]),
            },
        ]);
        var summary = RunSummary.Of(recipe, new RunFacts(Method.Ptq, Layers)
        {
            OutOfReach = [new KeptLayer("model.embed_tokens", "embeddings stay float")],
            CalibrationPieces = 64,
            CalibrationTokens = 64 * 256,
            WindowTokens = 256,
        });
        Assert.Equal([new SummarizedLayer(Query, "int4 asymmetric per group 32", "int8 symmetric per token", "smoothquant, gptq"),
            new("model.layers.0.mlp.up_proj", "int4 asymmetric per group 32", "int8 symmetric per token", "smoothquant, gptq")], summary.Quantized);
        Assert.Equal([new KeptLayer(Down, "the rule '*.down_proj' keeps it"), new("lm_head", "no rule matches it"),
            new("model.embed_tokens", "embeddings stay float")], summary.Kept);
        Assert.Empty(summary.Warnings);
        Assert.Equal(
            [
                "quantized   2 layers to int4 asymmetric per group 32, inputs int8 symmetric per token, by smoothquant, gptq",
                "kept float  1 layer: the rule '*.down_proj' keeps it (model.layers.0.mlp.down_proj)",
                "kept float  1 layer: no rule matches it (lm_head)",
                "kept float  1 layer: embeddings stay float (model.embed_tokens)",
            ],
            summary.Lines());
        var trained = RunSummary.Of(recipe with { Rules = [recipe.Rules[0], recipe.Rules[1] with { WeightMethod = Method.Ptq }] },
            new RunFacts(Method.Qat, Layers));
        Assert.Equal("smoothquant, gptq", trained.Quantized[0].Algorithms);
        Assert.Equal("qat", RunSummary.Of(new Recipe("q", [new RecipeRule("*", Int4)]), new RunFacts(Method.Qat, Layers)).Quantized[0].Algorithms);
    }

    [Theory]
    [InlineData("model.layers.7.*",
        "the rule 'model.layers.7.*' matches none of the 4 layers and has no effect; their names look like 'model.layers.0.self_attn.q_proj'")]
    [InlineData("*.embed_tokens", "the rule '*.embed_tokens' has no effect on model.embed_tokens: embeddings stay float")]
    [InlineData("*.q_proj", "the rule '*.q_proj' has no effect: the first rule that matches decides, and '*_proj' before it matches all its layers")]
    [InlineData("*0*", "the rule '*0*' has no effect: the first rule that matches decides, and '*_proj' before it matches all its layers")]
    public void RulesWithoutEffectAreNamed(string pattern, string expected)
    {
        foreach (var weights in (QuantizationScheme?[])[Int4, .. pattern == "*.embed_tokens" ? [] : (QuantizationScheme?[])[null]])
        {
            var recipe = new Recipe("mine",
                [new RecipeRule("*_proj", Int4), new RecipeRule(pattern, weights), new RecipeRule("*", Int4 with { ScalePrecision = ScalePrecision.Float32 })]);
            Assert.Equal([expected], RunSummary.Of(recipe,
                new RunFacts(Method.Ptq, Layers) { OutOfReach = [new KeptLayer("model.embed_tokens", "embeddings stay float")] }).Warnings);
        }
    }

    [Fact]
    public void CatchAllsThatAreLeftWithNothingAreNoFault() =>
        Assert.Empty(RunSummary.Of(new Recipe("mine", [new RecipeRule("model.*", Int4), new RecipeRule("lm_head", Int4), new RecipeRule("*", Weights: null)]),
            new RunFacts(Method.Ptq, Layers)).Warnings);

    [Theory]
    [InlineData(32,
        "groups of 32 do not divide the 172 columns of model.layers.0.mlp.down_proj: the last group of each row holds 12, and other engines refuse such "
        + "layers")]
    [InlineData(256,
        "groups of 256 do not divide the 172 columns of model.layers.0.mlp.down_proj: each row is one group, and other engines refuse such layers")]
    public void GroupsThatDoNotDivideAreTold(int size, string expected) =>
        Assert.Equal([expected], RunSummary.Of(new Recipe("mine", [new RecipeRule("*", new QuantizationScheme(4, symmetric: true, Granularity.Group(size)))]),
            new RunFacts(Method.Ptq, Layers)).Warnings);

    [Fact]
    public void TargetsSayWhatTheirBlocksCannotHold()
    {
        var target = RecipeTarget.Parse("gguf:q4_0");
        var recipe = target.Apply(null, [.. Layers.Select(layer => (layer.Name, layer.Columns))]);
        var summary = RunSummary.Of(recipe, new RunFacts(Method.Ptq, Layers) { Target = target });
        Assert.Equal([new KeptLayer(Down, "rows of 172 do not divide into blocks of gguf:q4_0, which hold 32"), new("lm_head", "the rule 'lm_head' keeps it")],
            summary.Kept);
        Assert.Empty(summary.Warnings);
    }

    [Theory]
    [InlineData("gptq", 1, 256, "gptq of model.layers.0.self_attn.q_proj, model.layers.0.mlp.up_proj, lm_head sees 256 tokens for up to 512 columns")]
    [InlineData("gptaq", 2, 64,
        "gptaq of model.layers.0.self_attn.q_proj, model.layers.0.mlp.up_proj, model.layers.0.mlp.down_proj and 1 more sees 128 tokens for up to 512 columns")]
    [InlineData("awq", 1, 511, "awq of model.layers.0.self_attn.q_proj, model.layers.0.mlp.up_proj, lm_head sees 511 tokens for up to 512 columns")]
    [InlineData("gptq", 2, 256, null)]
    [InlineData("importance", 1, 2, null)]
    [InlineData("rtn", 1, 2, null)]
    public void FewTokensAreToldWithNumbers(string algorithm, int pieces, int tokens, string? expected)
    {
        var rule = new RecipeRule("*", Int4) { Algorithms = WeightAlgorithms.Parse([algorithm]) };
        var recipe = new Recipe("mine", [rule]) { Ptq = new PtqSettings { Windows = pieces } };
        var warnings = RunSummary.Of(
            recipe, new RunFacts(Method.Ptq, Layers) { CalibrationPieces = pieces, CalibrationTokens = pieces * tokens, WindowTokens = tokens }).Warnings
            .Where(warning => !warning.Contains("ptq.windows", StringComparison.Ordinal)).ToList();
        Assert.Equal(expected is null ? 0 : 1, warnings.Count);
        Assert.StartsWith(expected ?? string.Empty, warnings.FirstOrDefault() ?? string.Empty, StringComparison.Ordinal);
        Assert.True(expected is null
            || warnings[0]
                .EndsWith("can be worse than round to nearest; calibrate on at least 512 tokens, preferably ten times as many", StringComparison.Ordinal));
    }

    [Fact]
    public void DataThatAreShortAreTold()
    {
        var recipe = new Recipe("mine", [new RecipeRule("*", Int4) { Algorithms = WeightAlgorithms.Parse(["importance"]) }]);
        Assert.Equal(["the calibration data fills 5 of the 64 windows that the recipe requests"],
            RunSummary.Of(recipe, new RunFacts(Method.Ptq, Layers) { CalibrationPieces = 5, CalibrationTokens = 5 * 256, WindowTokens = 256 }).Warnings);
        Assert.Empty(RunSummary.Of(recipe, new RunFacts(Method.Ptq, Layers) { CalibrationPieces = 5, CalibrationTokens = 600 }).Warnings);
        Assert.Equal(["the calibration data is not used: the recipe has nothing to calibrate"],
            RunSummary.Of(recipe, new RunFacts(Method.Ptq, Layers) { HasIdleData = true }).Warnings);
        Assert.Equal(["the calibration windows have 128 tokens, the model's limit, instead of 600"],
            RunSummary.Of(recipe with { Ptq = recipe.Ptq with { SequenceLength = 600 } },
                new RunFacts(Method.Ptq, Layers) { CalibrationPieces = 64, CalibrationTokens = 64 * 128, WindowTokens = 128 }).Warnings);
        Assert.StartsWith("training passes over its data about 25 times", Assert.Single(
            RunSummary.Of(new Recipe("q", [new RecipeRule("*", Int4)]), new RunFacts(Method.Qat, Layers) { Epochs = 25 }).Warnings), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("dampening: 0.1", "ptq.dampening has no effect: only gptq and gptaq use it")]
    [InlineData("activationOrder: none", "ptq.activationOrder has no effect: only gptq and gptaq use it")]
    [InlineData("asymmetry: 0.5", "ptq.asymmetry has no effect: only gptaq uses it")]
    [InlineData("windows: 8", "ptq.windows has no effect: nothing is calibrated")]
    [InlineData("sequenceLength: 8", "ptq.sequenceLength has no effect: nothing is calibrated")]
    [InlineData("sequential: false", "ptq.sequential has no effect: no algorithm uses inputs")]
    [InlineData("scalingGrid: 5", "ptq.scalingGrid has no effect: only awq and smoothquant use it")]
    [InlineData("learningSteps: 5", "ptq.learningSteps has no effect: only adaround and signround use it")]
    [InlineData("learningBatch: 5", "ptq.learningBatch has no effect: only adaround and signround use it")]
    [InlineData("learningRate: 0.1", "ptq.learningRate has no effect: only adaround and signround use it")]
    public void SettingsOfPtqThatNothingLooksAtAreNamed(string setting, string expected)
    {
        Assert.Equal([$"the setting {expected}"], Warnings($"rules: [{{ pattern: '*', weights: {{ bits: 4 }} }}]\nptq: {{ {setting} }}", Method.Ptq));

        // The stack that looks at all of them has nothing to say.
        Assert.Empty(Warnings($"rules: [{{ pattern: '*', weights: {{ bits: 4 }}, algorithms: [awq, gptaq, signround] }}]\nptq: {{ {setting} }}", Method.Ptq,
            pieces: 100, tokens: 1000));
    }

    [Theory]
    [InlineData("activations: clippedActivation", "qat.activations has no effect: no inputs have a fixed range to train (granularity: tensor)")]
    [InlineData("scaleLearningRate: 0.5, estimator: straightThrough", "qat.scaleLearningRate has no effect: no scales are learned")]
    [InlineData("floatLearningRate: 0.5, mode: scales", "qat.floatLearningRate has no effect: this mode does not train the parameters that stay in float")]
    [InlineData("adapterRank: 4", "qat.adapterRank has no effect: only the modes adapters and adaptersOnNormalFloat have adapters")]
    [InlineData("blockSteps: 4", "qat.blockSteps has no effect: only the mode blockWise trains blocks")]
    [InlineData("schedule: { activationDelay: 0.1 }", "qat.schedule.activationDelay has no effect: no inputs are quantized")]
    [InlineData("schedule: { observerFreeze: 0.1 }", "qat.schedule.observerFreeze has no effect: no observer tracks inputs during training")]
    [InlineData("schedule: { annealingShare: 0.1 }", "qat.schedule.annealingShare has no effect: annealFrom is 0")]
    [InlineData("steps: 5 }\nptq: { dampening: 0.5", "ptq.dampening has no effect: only gptq and gptaq use it")]
    public void SettingsOfTrainingThatNothingLooksAtAreNamed(string setting, string expected) =>
        Assert.Equal([$"the setting {expected}"], Warnings($"rules: [{{ pattern: '*', weights: {{ bits: 4 }} }}]\nqat: {{ {setting} }}", Method.Qat));

    [Theory]
    [InlineData("weights: { bits: 4 }, algorithms: [gptq]", Method.Qat,
        "the algorithms gptq of the rule '*' have no effect: its weights are trained, starting from qat.start (rtn)")]
    [InlineData("weights: { bits: 4, range: search }, algorithms: [hqq]", Method.Ptq, "the range of the rule '*' has no effect: hqq finds its own ranges")]
    [InlineData("weights: { bits: 4 }, activations: { bits: 8, observer: entropy }", Method.Ptq,
        "the observer of the rule '*' has no effect: per-token inputs take their range from each token")]
    public void PartsOfRulesThatNothingLooksAtAreNamed(string rule, Method method, string expected) =>
        Assert.Equal([expected], Warnings($"rules: [{{ pattern: '*', {rule} }}]", method));

    [Fact]
    public void ResultsLargerThanTheirSourceSaySo()
    {
        Assert.Empty(RunSummary.Empty.WithSizes(99, 100).Warnings);
        Assert.StartsWith("the result is not smaller than its source: 1,234 bytes instead of 1,000; ",
            Assert.Single(RunSummary.Empty.WithSizes(1234, 1000).Warnings), StringComparison.Ordinal);
        Assert.Equal(["a", "b"], RunSummary.Empty.With(["a"]).With(["b", "a"]).Warnings);
    }

    private static IReadOnlyList<string> Warnings(string yaml, Method method, int? pieces = null, int tokens = 0) =>
        RunSummary.Of(RecipeFile.ParseYaml(yaml, "mine.yaml"),
            new RunFacts(method, [.. Layers.Select(layer => layer with { Columns = 512 })])
            {
                CalibrationPieces = pieces,
                CalibrationTokens = (pieces ?? 0) * tokens,
                WindowTokens = tokens
            }).Warnings;
}
