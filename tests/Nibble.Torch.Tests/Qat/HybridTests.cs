using Nibble.Formats.CompressedTensors;
using Nibble.Algorithms;
using Nibble.Artifacts;
using Nibble.Numerics;
using Nibble.Recipes;
using Nibble.Torch.Calibration;
using Nibble.Torch.Data;
using Nibble.Torch.Models;
using Nibble.Torch.Ptq;
using Nibble.Torch.Qat;
using Nibble.Torch.Tests.Shared;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace Nibble.Torch.Tests.Qat;

public sealed class HybridTests : IDisposable
{
    private const string Ranges = "w4a4-g8-hybrid-weights-ptq-activations-qat";

    private static readonly CalibrationOptions Calibration = new(2, 16);

    private static readonly TokenizedText Text = Texts.Random(400);

    private static readonly QatSettings Short = new()
    {
        Steps = 5,
        BatchSize = 2,
        SequenceLength = 16,
        LearningRate = 1e-2,
        ScaleLearningRate = 1e-2,
        WarmUp = 0,
        Activations = ActivationEstimator.LearnedScaleAndOffset,
    };

    private readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    [Fact]
    public void RangesAreTrainedAroundTheCodesThatPtqChose()
    {
        using var model = new TinyLlama().Open(folder);
        var recipe = Recipe(Ranges, Short);
        var solved = PostTrainingQuantizer.Run(model, recipe with { Rules = [.. recipe.Rules.Select(rule => rule with { ActivationMethod = null })] }, Text, 1);

        var trained = Train(model, recipe);

        Assert.Equal(solved.Layers.Select(layer => layer.Name), trained.Layers.Select(layer => layer.Name));
        Assert.All(solved.Layers.Zip(trained.Layers), pair =>
        {
            RequireSame(pair.First.Weight, pair.Second.Weight);
            Assert.NotEqual(pair.First.Input!.Static!.Value.Scale, pair.Second.Input!.Static!.Value.Scale);
            Assert.Equal((Method.Ptq, Method.Qat), (pair.Second.WeightMethod, pair.Second.InputMethod));
        });
        Assert.Equal("hybrid", trained.Provenance.Method);

        // Norms are those that smoothing left.
        var smoothed = solved.FloatTensors.ToDictionary(tensor => tensor.Name);
        Assert.Equal(smoothed.Count, trained.FloatTensors.Count);
        Assert.All(trained.FloatTensors, tensor => Assert.Equal(smoothed[tensor.Name].Values, tensor.Values));
    }

    [Fact]
    public void WhatStaysFloatIsTrainedBesideFrozenWeightsWhereItHasARate()
    {
        using var model = new TinyLlama().Open(folder);
        using var other = new TinyLlama().Open(folder);

        var ranges = Train(model, Recipe(Ranges, Short));
        var all = Train(other, Recipe(Ranges, Short with { FloatLearningRate = 1e-2 }));

        Assert.All(ranges.Layers.Zip(all.Layers), pair => RequireSame(pair.First.Weight, pair.Second.Weight));
        Assert.All(ranges.FloatTensors.Zip(all.FloatTensors), pair => Assert.NotEqual(pair.First.Values, pair.Second.Values));
    }

    [Theory]
    [InlineData("w3a16-g8-hybrid-attention-qat", true)]
    [InlineData("w3a16-g8-hybrid-mlp-qat", false)]
    public void APartIsTrainedAroundTheRestThatPtqSolved(string preset, bool attentionTrained)
    {
        using var model = new TinyLlama().Open(folder);
        var recipe = Recipe(preset, Short);

        // PTQ sees what is trained in float.
        var rest = recipe with { Rules = [.. recipe.Rules.Select(rule => rule.WeightMethod == Method.Qat ? rule with { Weights = null } : rule)] };
        var solved = PostTrainingQuantizer.Run(model, rest, Text, 1).Layers.ToDictionary(layer => layer.Name, layer => layer.Weight);

        var trained = Train(model, recipe);

        Assert.Equal(14, trained.Layers.Count);
        Assert.All(trained.Layers, layer =>
        {
            var isTrained = layer.Name.Contains("attn", StringComparison.Ordinal) == attentionTrained;
            Assert.Equal((isTrained ? Method.Qat : Method.Ptq, null), (layer.WeightMethod, layer.InputMethod));
            Assert.Equal(isTrained, !solved.TryGetValue(layer.Name, out var weight));
            if (weight is not null)
            {
                RequireSame(weight, layer.Weight);
            }
        });
    }

    [Fact]
    public void ActivationsOfTheMethodPtqKeepTheirCalibratedRange()
    {
        using var model = new TinyLlama().Open(folder);
        using var untrained = new TinyLlama().Open(folder);
        var preset = RecipePresets.Parse("w4a4-g8-static");
        var recipe = preset with { Rules = [.. preset.Rules.Select(rule => rule with { ActivationMethod = Method.Ptq })] };
        var calibrated = ActivationCalibration.Run(untrained.Model, recipe, Text, Calibration);

        var trained = Train(model, recipe with { Qat = Short });

        Assert.All(trained.Layers, layer =>
        {
            Assert.Equal(calibrated[layer.Name].Static, layer.Input!.Static);
            Assert.Equal((Method.Qat, Method.Ptq), (layer.WeightMethod, layer.InputMethod));
        });
    }

    [Theory]
    [InlineData(Ranges)]
    [InlineData("w3a4-g8-static-hybrid-attention-qat")]
    [InlineData("w3a8-g8-awq-rtn-hybrid-mlp-qat")]
    public void TheArtifactComputesWhatWasTrained(string preset)
    {
        using var model = new TinyLlama { Type = "qwen2" }.Open(folder);
        QuantizedModelFile.Save(Train(model, Recipe(preset, Short)), folder.File("artifact"));
        using var artifact = LoadedModel.Open(folder.File("artifact"));

        Assert.Equal("hybrid", artifact.Quantized!.Provenance.Method);
        Assert.Contains(artifact.Quantized.Layers, layer => layer.WeightMethod == Method.Ptq);
        using var guard = no_grad();
        using var scope = NewDisposeScope();
        var tokens = tensor(Text.Window(0, 30), 1, 30);
        Assert.InRange((model.Llama().forward(tokens) - artifact.Llama().forward(tokens)).abs().max().item<float>(), 0, 1e-4f);
    }

    [Fact]
    public void ARunThatIsInterruptedInEitherMethodEndsWithTheSameBytes()
    {
        var recipe = Recipe(Ranges, Short);
        Run("whole");
        Interrupt("solving", "quantize");
        Run("solving");
        Interrupt("training", "train");
        Run("training", told => Assert.NotEqual("quantize", told.Stage));

        var whole = TemporaryFolder.Contents(folder.File("whole"));
        Assert.Equal(whole, TemporaryFolder.Contents(folder.File("solving")));
        Assert.Equal(whole, TemporaryFolder.Contents(folder.File("training")));

        void Interrupt(string output, string stage)
        {
            using var cancellation = new CancellationTokenSource();
            Assert.Throws<OperationCanceledException>(() => Run(
                output,
                told =>
                {
                    if (told.Stage == stage && told.Done == 3)
                    {
                        cancellation.Cancel();
                    }
                },
                cancellation.Token));
        }

        void Run(string output, Action<RunProgress>? told = null, CancellationToken cancellation = default)
        {
            using var model = new TinyLlama().Open(folder);
            QatRun.Run(new QatRequest(model, recipe, recipe.Qat, Text, folder.File(output)) { CheckpointEvery = 1 }, new Told(told), cancellation);
        }
    }

    public static TheoryData<string, QatSettings, string> Refusals => new()
    {
        { Ranges, Short with { Mode = TrainingMode.Scales }, "cannot stay unchanged in the mode scales; use mode: full" },
        { Ranges, Short with { Activations = ActivationEstimator.StraightThrough }, "which leave nothing to train" },
        { Ranges, Short with { Schedule = new QatSchedule { ActivationDelay = 0.5 } }, "set floatShare and activationDelay to 0" },
        { "w4a16-g8-debias-hybrid-attention-qat", Short, "cannot have the algorithm debias" },
        { "w4a4-g8", Short, "leave nothing to train" },
    };

    [Theory]
    [MemberData(nameof(Refusals))]
    public void TrainingRefusesWhatItCannotDoWithTheMethods(string preset, QatSettings settings, string message)
    {
        var parsed = RecipePresets.Parse(preset);
        var recipe = parsed.IsHybrid ? parsed : parsed with { Rules = [.. parsed.Rules.Select(rule => rule with { WeightMethod = Method.Ptq })] };
        using var model = new TinyLlama().Open(folder);

        var fault = Assert.Throws<NibbleException>(() => new QuantizationAwareTrainer(model, recipe, settings, Text, Calibration, 1));

        Assert.Contains(message, fault.Message, StringComparison.Ordinal);
        Assert.Contains("has weights of the method ptq for *", fault.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void PtqRefusesAHybrid()
    {
        using var model = new TinyLlama().Open(folder);

        var fault = Assert.Throws<NibbleException>(() => PostTrainingQuantizer.Run(model, RecipePresets.Parse("hybrid-attention-qat"), Text, 1));

        Assert.Contains("sets the method qat for weights, which post-training quantization cannot do; use nibble qat", fault.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void AnyModuleTrainsItsRangesAroundRoundedWeights()
    {
        using var module = new SmallCnn();
        using var original = new SmallCnn();
        var weights = new QuantizationScheme(4, symmetric: true, Granularity.Channel);
        var rule = new RecipeRule(
            "*", weights, new ActivationRule(new QuantizationScheme(4, false, Granularity.Tensor)), WeightRange.Mse)
        { WeightMethod = Method.Ptq };
        var fc = Bits.Of(((Linear)module.named_children().Single(child => child.name == "fc").module).weight!);
        var prepared = QuantizationAware.Prepare(module, new Recipe("ranges", [rule]));
        using var scope = NewDisposeScope();
        using var generator = new Generator(1);
        var images = randn(8, 2, 8, 8, generator: generator);
        prepared.Calibrate([images.clone()]);
        Assert.Empty(prepared.WeightParameters);
        var before = prepared.ConvertLayers();

        module.train();
        using var optimizer = optim.Adam(prepared.Parameters, 1e-2);
        for (var step = 1; step <= 4; step++)
        {
            prepared.BeginStep(step, 4);
            optimizer.zero_grad();
            module.forward(images).square().sum().backward();
            optimizer.step();
        }

        prepared.Complete();
        module.eval();
        var model = prepared.Convert();
        RequireSame(RoundToNearest.Quantize(fc, 3, 6, weights, WeightRange.Mse), model.Layers.Single(layer => layer.Name == "fc").Weight);
        Assert.All(before.Zip(model.Layers), pair =>
        {
            RequireSame(pair.First.Weight, pair.Second.Weight);
            Assert.NotEqual(pair.First.Input!.Static, pair.Second.Input!.Static);
        });
        QuantizationAware.Load(original, model);
        original.eval();
        Assert.InRange((module.forward(images) - original.forward(images)).abs().max().item<float>(), 0, 1e-5f);
    }

    [Fact]
    public void AModuleWhoseWeightsNoOneHasSolvedIsOnlyRoundedToNearest()
    {
        using var module = new SmallText();
        var rule = new RecipeRule(
            "hidden.*", new QuantizationScheme(4, true, Granularity.Channel))
        { WeightMethod = Method.Ptq, Algorithms = WeightAlgorithms.Parse(["gptq"]) };
        var trained = new RecipeRule("*", new QuantizationScheme(4, true, Granularity.Channel));

        var fault = Assert.Throws<NibbleException>(() => QuantizationAware.Prepare(module, new Recipe("mine", [rule, trained])));

        Assert.Contains("the rule for hidden.* chooses the weights of 'hidden.0' by gptq", fault.Message, StringComparison.Ordinal);
    }

    private static Recipe Recipe(string preset, QatSettings settings) => RecipePresets.Parse(preset) with
    {
        Qat = settings,
        Ptq = new PtqSettings { Windows = 4, SequenceLength = 16 },
    };

    private static QuantizedModel Train(LoadedModel model, Recipe recipe)
    {
        var trainer = new QuantizationAwareTrainer(model, recipe, recipe.Qat, Text, Calibration, 1);
        trainer.Train();
        return trainer.Convert();
    }

    private static void RequireSame(QuantizedTensor expected, QuantizedTensor actual)
    {
        Assert.Equal(expected.Codes, actual.Codes);
        Assert.Equal(expected.Scales, actual.Scales);
        Assert.Equal(expected.ZeroPoints, actual.ZeroPoints);
    }
}
