using Nibble.Formats.CompressedTensors;
using Nibble.Files;
using Nibble.Recipes;
using Nibble.Torch.Calibration;
using Nibble.Torch.Evaluation;
using Nibble.Torch.Layers;
using Nibble.Torch.Models;
using Nibble.Torch.Ptq;
using Nibble.Torch.Qat;
using Nibble.Torch.Tests.Shared;
using static TorchSharp.torch;

namespace Nibble.Torch.Tests.Qat;

public sealed class TrainingModesTests : IDisposable
{
    private static readonly CalibrationOptions Calibration = new(2, 16);

    private static readonly QatSettings Short = new()
    {
        Steps = 4,
        BlockSteps = 4,
        BatchSize = 2,
        SequenceLength = 16,
        LearningRate = 1e-2,
        ScaleLearningRate = 1e-2,
        WarmUp = 0,
        AdapterRank = 4,
    };

    private readonly TemporaryFolder folder = new();

    public static TheoryData<TrainingMode, string, ElementType> Conversions
    {
        get
        {
            var data = new TheoryData<TrainingMode, string, ElementType>();
            foreach (var mode in Enum.GetValues<TrainingMode>())
            {
                foreach (var preset in (string[])["w4a16-g8", "w2a8-g8-static", "wta16-g8-kv4"])
                {
                    data.Add(mode, preset, ElementType.F32);
                }

                data.Add(mode, "w3a8-g8", ElementType.F16);
            }

            return data;
        }
    }

    public void Dispose() => folder.Dispose();

    [Theory]
    [MemberData(nameof(Conversions))]
    public void ConvertChangesNothingThatTheTrainedModelComputes(TrainingMode mode, string preset, ElementType storedAs)
    {
        var (recipe, text) = (Recipe(preset, mode), Texts.Random(400));
        using var model = Open(new TinyLlama { Type = "qwen2", StoredAs = storedAs }, recipe);
        var trainer = new QuantizationAwareTrainer(model, recipe, recipe.Qat, text, Calibration, 1);
        trainer.Train();
        QuantizedModelFile.Save(trainer.Convert(), folder.File("artifact"));
        using var converted = LoadedModel.Open(folder.File("artifact"));
        Assert.Equal(mode, converted.Quantized!.Recipe.Qat.Mode);
        Assert.Equal("qat", converted.Quantized.Provenance.Method);

        var trained = Evaluator.Evaluate(model.Decoder, text, 20);
        Assert.Equal(trained.Perplexity, Evaluator.Evaluate(converted.Decoder, text, 20).Perplexity, 1e-4 * trained.Perplexity);
        using var guard = no_grad();
        using var scope = NewDisposeScope();
        var tokens = tensor(text.Window(0, 30), 1, 30);
        Assert.InRange((model.Llama().forward(tokens) - converted.Llama().forward(tokens)).abs().max().item<float>(), 0, 1e-4f);
    }

    [Theory]
    [InlineData(TrainingMode.BlockWise)]
    [InlineData(TrainingMode.Scales)]
    [InlineData(TrainingMode.Adapters)]
    [InlineData(TrainingMode.AdaptersOnNormalFloat)]
    public void TrainChangesWhatTheModeSaysAndNothingElse(TrainingMode mode)
    {
        var tiny = new TinyLlama { Type = "qwen2" };
        var recipe = Recipe("w2a16-g8", mode);
        using var model = Open(tiny, recipe);
        var trainer = new QuantizationAwareTrainer(model, recipe, recipe.Qat, Texts.Random(400), Calibration, 1);
        Assert.Throws<InvalidOperationException>(trainer.Convert);
        trainer.Train();
        var converted = trainer.Convert();
        var before = tiny.Tensors();
        Assert.Equal(4, trainer.Losses.Count);
        Assert.All(converted.FloatTensors, tensor => Assert.Equal(before[tensor.Name].Values, tensor.Values));

        // Layers that are quantized hold no float weight, except below adapters, where it is the checkpoint's.
        var quantized = converted.Layers.Select(layer => layer.Name).ToHashSet(StringComparer.Ordinal);
        Assert.All(model.Llama().Linears.Where(linear => quantized.Contains(linear.Key)), linear =>
            Assert.Equal(mode == TrainingMode.Adapters ? before[linear.Key + ".weight"].Values : new float[linear.Value.Weight.numel()],
                Bits.Of(linear.Value.Weight)));
    }

    [Theory]
    [InlineData("rtn")]
    [InlineData("gptaq")]
    [InlineData("awq gptq")]
    public void ScalesKeepTheCodesOfTheStart(string start)
    {
        var algorithms = WeightAlgorithms.Parse(start.Split(' '));
        var recipe = Recipe("w3a16-g8", TrainingMode.Scales, algorithms);
        using var model = Open(new TinyLlama(), recipe);
        var text = Texts.Random(400);
        var trainer = new QuantizationAwareTrainer(model, recipe, recipe.Qat, text, Calibration, 1);
        trainer.Train();
        var converted = trainer.Convert();

        var range = start == "rtn" ? WeightRange.Mse : WeightRange.Search;
        var rules = recipe with { Rules = [.. recipe.Rules.Select(rule => rule with { Algorithms = algorithms, Range = range })] };
        var begun = PostTrainingQuantizer.Run(model, rules, text, 1);
        Assert.All(begun.Layers.Zip(converted.Layers), item =>
        {
            Assert.Equal(item.First.Weight.Codes, item.Second.Weight.Codes);
            Assert.Equal(item.First.Weight.ZeroPoints, item.Second.Weight.ZeroPoints);
            Assert.NotEqual(item.First.Weight.Scales, item.Second.Weight.Scales);
        });
        Assert.Equal(begun.FloatTensors.Count, converted.FloatTensors.Count);
        Assert.All(begun.FloatTensors, tensor => Assert.Equal(tensor.Values, converted.FloatTensors.Single(other => other.Name == tensor.Name).Values));
    }

    [Theory]
    [InlineData(TrainingMode.Full)]
    [InlineData(TrainingMode.Adapters)]
    public void StartIsWhatTrainingBeginsWith(TrainingMode mode)
    {
        var algorithms = WeightAlgorithms.Parse(["gptaq"]);
        var recipe = Recipe("w2a16-g8", mode, algorithms);
        recipe = recipe with { Qat = recipe.Qat with { Steps = 1, LearningRate = 0, ScaleLearningRate = 0 } };
        using var model = Open(new TinyLlama(), recipe);
        var text = Texts.Random(400);
        var trainer = new QuantizationAwareTrainer(model, recipe, recipe.Qat, text, Calibration, 1);
        trainer.Train();
        var begun = PostTrainingQuantizer.Run(
            model, recipe with { Rules = [.. recipe.Rules.Select(rule => rule with { Algorithms = algorithms, Range = WeightRange.Search })] }, text, 1);
        Assert.All(begun.Layers.Zip(trainer.Convert().Layers), item =>
        {
            Assert.Equal(item.First.Weight.Codes, item.Second.Weight.Codes);
            Bits.Equal(item.First.Weight.Scales, item.Second.Weight.Scales);
        });
    }

    [Fact]
    public void BlockWiseOfOneSeedHasTheSameBytes()
    {
        SortedDictionary<string, byte[]> Make(string name, long seed)
        {
            var recipe = Recipe("w3a8-g8-static", TrainingMode.BlockWise, WeightAlgorithms.Parse(["gptq"]));
            using var model = Open(new TinyLlama(), recipe);
            var trainer = new QuantizationAwareTrainer(model, recipe, recipe.Qat, Texts.Random(400), Calibration, seed);
            trainer.Train();
            QuantizedModelFile.Save(trainer.Convert(), folder.File(name));
            return TemporaryFolder.Contents(folder.File(name));
        }

        var one = Make("one", 5);
        Assert.Equal(one, Make("again", 5));
        Assert.NotEqual(one["model.safetensors"], Make("other", 6)["model.safetensors"]);
    }

    [Theory]
    [InlineData(TrainingMode.BlockWise, true)]
    [InlineData(TrainingMode.Scales, true)]
    [InlineData(TrainingMode.AdaptersOnNormalFloat, true)]
    [InlineData(TrainingMode.Adapters, false)]
    public void OpenToTrainHoldsInFloatWhatTheModeNeeds(TrainingMode mode, bool released)
    {
        var recipe = Recipe("w4a16-g8", mode);
        using var model = Open(new TinyLlama(), recipe);
        var before = new TinyLlama().Tensors();
        Assert.All(model.Llama().Linears, linear =>
        {
            var zeros = released && linear.Key != "lm_head";
            Assert.Equal(zeros ? new float[linear.Value.Weight.numel()] : before[linear.Key + ".weight"].Values, Bits.Of(linear.Value.Weight));
            Assert.Equal(zeros && mode == TrainingMode.AdaptersOnNormalFloat, linear.Value.WeightQuantizer is ITransientWeight);
        });
        Assert.Equal(before.Count, model.StoredAs.Count);
    }

    public static TheoryData<QatSettings, ActivationOrder, string> Refusals => new()
    {
        { Short with { Mode = TrainingMode.Scales, Estimator = GradientEstimator.StraightThrough }, ActivationOrder.None,
            "trains in the mode scales, which learns scales, but the estimator straightThrough learns none; use learnedScale" },
        { Short with { Mode = TrainingMode.BlockWise, Schedule = new() { AnnealFrom = 8 } }, ActivationOrder.None,
            "trains in the mode blockWise, which starts with codes of the scheme's bit width; set annealFrom to 0" },
        { Short with { Mode = TrainingMode.Adapters, Schedule = new() { FloatShare = 0.1 } }, ActivationOrder.None,
            "trains no weights that could be float at first" },
        { Short with { Mode = TrainingMode.Scales, Dampening = 1 }, ActivationOrder.None, "set dampening to 0" },
        { Short with { Mode = TrainingMode.Full, Start = WeightAlgorithms.Parse(["debias"]) }, ActivationOrder.None, "cannot start with debias" },
        { Short with { Mode = TrainingMode.AdaptersOnNormalFloat, Start = WeightAlgorithms.Parse(["gptq"]) }, ActivationOrder.None,
            "cannot start with codes of float weights" },
        { Short with { Mode = TrainingMode.BlockWise, Start = WeightAlgorithms.Parse(["gptq"]) }, ActivationOrder.Group,
            "cannot train groups of scattered columns; set activationOrder to weight" },
    };

    [Theory]
    [MemberData(nameof(Refusals))]
    public void TrainerRefusesWhatAModeCannotDo(QatSettings settings, ActivationOrder order, string message)
    {
        var recipe = RecipePresets.Parse("w4a16-g8") with { Qat = settings, Ptq = new() { ActivationOrder = order } };
        using var model = new TinyLlama().Open(folder);
        Assert.Contains(message,
            Assert.Throws<NibbleException>(() => new QuantizationAwareTrainer(model, recipe, settings, Texts.Random(100), Calibration, 1)).Message,
            StringComparison.Ordinal);
    }

    private static Recipe Recipe(string preset, TrainingMode mode, WeightAlgorithms? start = null) => RecipePresets.Parse(preset) with
    {
        Qat = Short with { Mode = mode, Start = start ?? WeightAlgorithms.RoundToNearest },
        Ptq = new PtqSettings { Windows = 4, SequenceLength = 16 },
    };

    private LoadedModel Open(TinyLlama tiny, Recipe recipe)
    {
        var path = folder.File("tiny");
        return LoadedModel.OpenToTrain(Directory.Exists(path) ? path : tiny.Write(path), recipe);
    }
}
