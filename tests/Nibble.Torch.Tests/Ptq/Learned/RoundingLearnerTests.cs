using Nibble.Torch.Calibration;
using Nibble.Algorithms;
using Nibble.Artifacts;
using Nibble.Numerics;
using Nibble.Recipes;
using Nibble.Torch.Evaluation;
using Nibble.Torch.Models;
using Nibble.Torch.Ptq;
using Nibble.Torch.Ptq.Learned;
using Nibble.Torch.Tests.Shared;
using static TorchSharp.torch;

namespace Nibble.Torch.Tests.Ptq.Learned;

public sealed class RoundingLearnerTests : IDisposable
{
    private static readonly PtqSettings Settings = new() { LearningSteps = 40, LearningBatch = 3, LearningRate = 0.02 };

    private readonly TemporaryFolder folder = new();
    private readonly LoadedModel quantized;
    private readonly LoadedModel floats;
    private readonly QuantizationUnit unit;
    private readonly QuantizationUnit original;
    private readonly ActivationStream inputs;
    private readonly ActivationStream floatInputs;

    public RoundingLearnerTests()
    {
        quantized = new TinyLlama().Open(folder);
        floats = new TinyLlama().Open(folder);
        unit = new QuantizationUnit(quantized.Llama().Blocks[0], "model.layers.0.");
        original = new QuantizationUnit(floats.Llama().Blocks[0], "model.layers.0.");
        using var scope = NewDisposeScope();
        var generator = new Generator(5);
        var x = randn(8, 12, TinyLlama.Hidden, generator: generator);
        floatInputs = Stream("floats", x);
        inputs = Stream("inputs", x + (0.1 * randn(8, 12, TinyLlama.Hidden, generator: generator)));
    }

    public void Dispose()
    {
        inputs.Dispose();
        floatInputs.Dispose();
        quantized.Dispose();
        floats.Dispose();
        folder.Dispose();
    }

    [Theory]
    [InlineData(RoundingLearning.SignRound, 2, 0.8)]
    [InlineData(RoundingLearning.SignRound, 4, 0.95)]
    [InlineData(RoundingLearning.AdaRound, 2, 0.9)]
    [InlineData(RoundingLearning.AdaRound, 4, 0.97)]
    public void LearnLowersTheErrorOfTheBlockWhichComputesWithWhatIsReturned(RoundingLearning variant, int bits, double share)
    {
        var layers = Layers(variant, bits);
        var before = Error();
        var told = new Told();
        var result = Learner(Settings, 1, told).Learn(unit, inputs, original, floatInputs, layers);

        Assert.InRange(Error(), 0, share * before);
        Assert.Equal(Enumerable.Range(1, 40).Select(step => new RunProgress("learn", step, 40)), told.All);
        Assert.All(layers.Zip(result), item =>
        {
            Bits.Equal(item.Second.Dequantize(), item.First.Linear.Weight);
            Assert.NotEqual(item.First.Start.Codes, item.Second.Codes);
            Assert.NotEqual(item.First.Start.Scales, item.Second.Scales);
            Assert.Null(item.First.Linear.WeightQuantizer);
        });
    }

    [Fact]
    public void LearnLeavesTheLayersItIsNotGiven()
    {
        var layers = Layers(RoundingLearning.SignRound, 2);
        var kept = layers.Where(layer => !layer.Name.EndsWith("v_proj", StringComparison.Ordinal))
            .ToDictionary(layer => layer.Name, layer => Bits.Of(layer.Linear.Weight));
        var result = Learner(Settings, 1).Learn(unit, inputs, original, floatInputs, [layers.Single(layer => !kept.ContainsKey(layer.Name))]);

        Assert.Single(result);
        Assert.All(unit.Linears.Where(linear => kept.ContainsKey(linear.Key)), linear => Bits.Equal(kept[linear.Key], linear.Value.Weight));
        var tensors = new TinyLlama().Tensors();
        Assert.All(original.Parameters, parameter => Bits.Equal(tensors[parameter.Key].Values, parameter.Value));
    }

    [Fact]
    public void LearnOfOneSeedGivesTheSameCodesAndOfAnotherOthers()
    {
        IReadOnlyList<QuantizedTensor> Run(long seed) =>
            Learner(Settings, seed).Learn(unit, inputs, original, floatInputs, Layers(RoundingLearning.SignRound, 2));

        var (one, same, other) = (Run(3), Run(3), Run(4));
        Assert.All(one.Zip(same), item =>
        {
            Assert.Equal(item.First.Codes, item.Second.Codes);
            Bits.Equal(item.First.Scales, item.Second.Scales);
        });
        Assert.Contains(one.Zip(other), item => !item.First.Scales.SequenceEqual(item.Second.Scales));
    }

    [Fact]
    public void LearnKeepsTheStartWhereLearningMakesItWorse()
    {
        var layers = Layers(RoundingLearning.SignRound, 4);
        var before = Error();
        var result = Learner(Settings with { LearningRate = 5, LearningSteps = 2 }, 1).Learn(unit, inputs, original, floatInputs, layers);
        Assert.Equal(layers.Select(layer => layer.Start), result);
        Assert.Equal(before, Error());
    }

    [Fact]
    public void LearnKeepsTheStartWhereThereIsNothingToLearn()
    {
        var layers = Layers(RoundingLearning.AdaRound, 4);
        original.CopyFrom(unit);
        var told = new Told();
        Assert.Equal(layers.Select(layer => layer.Start), Learner(Settings, 1, told).Learn(unit, inputs, original, inputs, layers));
        Assert.Empty(told.All);
    }

    [Fact]
    public void LearnStopsBetweenStepsAndLeavesTheStart()
    {
        var layers = Layers(RoundingLearning.SignRound, 2);
        var before = Error();
        using var cancellation = new CancellationTokenSource();
        var told = new Told(progress => cancellation.Cancel());
        var learner = new RoundingLearner(Settings, 1, CPU, told, cancellation.Token);
        Assert.Throws<OperationCanceledException>(() => learner.Learn(unit, inputs, original, floatInputs, layers));
        Assert.Single(told.All);
        Assert.All(layers, layer => Assert.Null(layer.Linear.WeightQuantizer));
        Assert.Equal(before, Error());
    }

    [Fact]
    public void LearnNamesTheLayersWhenTheLossIsNoLongerFinite() => Assert.Equal(
        "model.layers.0.self_attn.q_proj and other layers: the loss of learned rounding became NaN at step 2. Lower the learning rate (it is 1E+20)",
        Assert.Throws<NibbleException>(
            () => Learner(Settings with { LearningRate = 1e20 }, 1).Learn(unit, inputs, original, floatInputs, Layers(RoundingLearning.SignRound, 2))).Message);

    [Theory]
    [InlineData("w2a16-g8-gptaq-signround")]
    [InlineData("w3a16-hqq-adaround-debias")]
    [InlineData("w2a8-g8-static-awq-signround")]
    [InlineData("w4a4-g8-rotated-signround")]
    public void RunLearnsAfterRoundingAndWritesWhatItLearned(string preset)
    {
        using var source = new TinyLlama { Type = "qwen2" }.Open(folder);
        var text = Texts.Random(400);
        var recipe = RecipePresets.Parse(preset) with { Ptq = Settings with { Windows = 8, SequenceLength = 20 } };
        var told = new Told();
        var model = PostTrainingQuantizer.Run(source, recipe, text, seed: 1, told);
        var start = PostTrainingQuantizer.Run(source, Unlearned(recipe), text, seed: 1);

        Assert.Equal(2 * 40, told.All.Count(progress => progress.Stage == "learn"));
        Assert.All(model.Layers.Zip(start.Layers), item => Assert.NotEqual(item.First.Weight.Codes, item.Second.Weight.Codes));
        Assert.InRange(Divergence(model), 0, Divergence(start));

        double Divergence(QuantizedModel quantized)
        {
            using var simulated = (IDecoder)LoadedModel.Simulate(quantized, preset);
            return Evaluator.Evaluate(simulated, text, 20, reference: source.Decoder).Divergence!.Value;
        }
    }

    private static Recipe Unlearned(Recipe recipe) => recipe with
    {
        Rules = [.. recipe.Rules.Select(rule => rule with { Algorithms = rule.Algorithms with { Learning = RoundingLearning.None } })],
    };

    private static RoundingLearner Learner(PtqSettings settings, long seed, Told? told = null) => new(settings, seed, CPU, told, CancellationToken.None);

    /// <summary>Rounds the block to nearest, to start from.</summary>
    private List<LearningLayer> Layers(RoundingLearning variant, int bits)
    {
        var scheme = new QuantizationScheme(bits, symmetric: false, Granularity.Group(8)) { ScalePrecision = ScalePrecision.Float16 };
        var layers = new List<LearningLayer>();
        foreach (var ((name, linear), (_, source)) in unit.Linears.Zip(original.Linears))
        {
            var start = RoundToNearest.Quantize(Bits.Of(source.Weight), linear.OutFeatures, linear.InFeatures, scheme, WeightRange.Mse);
            Conversion.CopyInto(linear.Weight, start.Dequantize());
            layers.Add(new LearningLayer(name, linear, source.Weight, start, variant));
        }

        return layers;
    }

    private double Error()
    {
        using var guard = no_grad();
        using var scope = NewDisposeScope();
        return (unit.Forward(inputs.Read(0, 8, CPU)) - original.Forward(floatInputs.Read(0, 8, CPU))).square().mean().item<float>();
    }

    private ActivationStream Stream(string name, Tensor batch)
    {
        var stream = ActivationStream.Create(
            folder.File(name), [.. Enumerable.Repeat((int)batch.shape[1], (int)batch.shape[0])], (int)batch.shape[2], memoryLimit: 0);
        stream.Append(batch);
        stream.Complete();
        return stream;
    }
}

public sealed class RoundingLearnerRealModelTests
{
    [Fact]
    public void StoriesAt2BitsGainsMostOfWhatRoundingLost()
    {
        using var source = Texts.Stories();
        var text = Texts.TinyStories("train.txt", source);
        var settings = new PtqSettings { Windows = 16, SequenceLength = 128, LearningSteps = 30, LearningBatch = 4, LearningRate = 0.02 };
        var learned = Perplexity("w2a16-g32-signround");
        Assert.InRange(learned, 1, 0.5 * Perplexity("w2a16-g32-mse"));

        double Perplexity(string preset)
        {
            using var simulated = (IDecoder)LoadedModel
                .Simulate(PostTrainingQuantizer.Run(source, RecipePresets.Parse(preset) with { Ptq = settings }, text, 1), preset);
            return Evaluator.Evaluate(simulated, Texts.TinyStories("valid.txt", source), 256, 8).Perplexity;
        }
    }
}
