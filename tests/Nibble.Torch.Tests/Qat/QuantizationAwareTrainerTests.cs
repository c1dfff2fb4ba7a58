using Nibble.Torch.Training;
using Nibble.Formats.CompressedTensors;
using Nibble.Files;
using Nibble.Numerics;
using Nibble.Recipes;
using Nibble.Torch.Calibration;
using Nibble.Torch.Data;
using Nibble.Torch.Evaluation;
using Nibble.Torch.Models;
using Nibble.Torch.Native;
using Nibble.Torch.Ptq;
using Nibble.Torch.Qat;
using Nibble.Torch.Tests.Shared;
using static TorchSharp.torch;

namespace Nibble.Torch.Tests.Qat;

public sealed class QuantizationAwareTrainerTests : IDisposable
{
    private static readonly CalibrationOptions Calibration = new(2, 16);

    private static readonly QatSettings Short =
        new() { Steps = 5, BatchSize = 2, SequenceLength = 16, LearningRate = 1e-2, ScaleLearningRate = 1e-2, WarmUp = 0, WeightDecay = 0.01 };

    private readonly TemporaryFolder folder = new();

    public static TheoryData<GradientEstimator, string, ElementType> Conversions
    {
        get
        {
            var data = new TheoryData<GradientEstimator, string, ElementType>();
            foreach (var estimator in Enum.GetValues<GradientEstimator>())
            {
                foreach (var preset in (string[])["w4a16-g8", "w2a16-g8-sym", "wta16-g8", "w4a8-g8", "w8a8-static", "w4a16-g8-kv4", "w16a16-kv3"])
                {
                    data.Add(estimator, preset, ElementType.F32);
                    data.Add(estimator, preset, ElementType.F16);
                }
            }

            return data;
        }
    }

    public void Dispose() => folder.Dispose();

    [Theory]
    [MemberData(nameof(Conversions))]
    public void ConvertChangesNothingThatTheTrainedModelComputes(GradientEstimator estimator, string preset, ElementType storedAs)
    {
        using var model = new TinyLlama { Type = "qwen2", StoredAs = storedAs }.Open(folder);
        RequireConversionKeeps(model, RecipePresets.Parse(preset), estimator);
    }

    public static TheoryData<string, QatSettings> Variants => new()
    {
        { "w2a16-g8-stretched", Short },
        { "w4a16-g8-po2", Short },
        { "w4a8-static", Short with { Activations = ActivationEstimator.StraightThrough } },
        { "w4a8-static", Short with { Activations = ActivationEstimator.LearnedScaleAndOffset, Estimator = GradientEstimator.LearnedScaleAndOffset } },
        { "w4a8-static", Short with { Activations = ActivationEstimator.ClippedActivation } },
        { "w3a16-g8", Short with { Start = WeightAlgorithms.Parse(["gptaq"]) } },
        { "w2a8-g8", Short with { Start = WeightAlgorithms.Parse(["awq", "rtn"]) } },
        { "w2a16-g8", Short with { Schedule = new QatSchedule { AnnealFrom = 8, Gradual = 0.5, FloatShare = 0.2 }, Dampening = 1e-2 } },
        { "wta16-g8", Short with { Schedule = new QatSchedule { AnnealFrom = 4, ActivationDelay = 1 } } },
    };

    [Theory]
    [MemberData(nameof(Variants))]
    public void ConvertChangesNothingWhateverTheSettings(string preset, QatSettings settings)
    {
        using var model = new TinyLlama().Open(folder);
        RequireConversionKeeps(model, RecipePresets.Parse(preset), settings);
    }

    [Fact]
    public void StartBeginsWithTheSolutionOfItsAlgorithms()
    {
        using var model = new TinyLlama().Open(folder);
        var text = Texts.Random(200);
        var settings = Short with { Start = WeightAlgorithms.Parse(["gptq"]) };
        var expected = PostTrainingQuantizer.Run(model, RecipePresets.Parse("w3a16-g8-gptq"), text, 1).Layers;
        var started = new QuantizationAwareTrainer(model, RecipePresets.Parse("w3a16-g8"), settings, text, Calibration, 1).Convert().Layers;
        Assert.Equal(expected.Select(layer => layer.Weight.Codes), started.Select(layer => layer.Weight.Codes));
        Assert.Equal(expected.Select(layer => layer.Weight.Scales), started.Select(layer => layer.Weight.Scales));
    }

    [Theory]
    [InlineData(GradientEstimator.StraightThrough)]
    [InlineData(GradientEstimator.LearnedScale)]
    public void ConvertKeepsActivationScalesThatAreStoredAsBinary16(GradientEstimator estimator)
    {
        using var model = new TinyLlama().Open(folder);
        var input = new QuantizationScheme(8, symmetric: false, Granularity.Tensor) { ScalePrecision = ScalePrecision.Float16 };
        RequireConversionKeeps(model, new Recipe("half", [new RecipeRule("*", new QuantizationScheme(4, true, Granularity.Tensor), new ActivationRule(input))]),
            estimator);
    }

    [Theory]
    [InlineData(GradientEstimator.StraightThrough, "w2a16-g8")]
    [InlineData(GradientEstimator.LearnedScale, "w2a16-g8")]
    [InlineData(GradientEstimator.StraightThrough, "w4a8-g8")]
    [InlineData(GradientEstimator.StraightThrough, "w4a8-static")]
    [InlineData(GradientEstimator.LearnedScale, "w4a8-static")]
    public void TrainReachesEveryParameter(GradientEstimator estimator, string preset)
    {
        var tiny = new TinyLlama { Type = "qwen2" };
        using var model = tiny.Open(folder);
        var trainer = new QuantizationAwareTrainer(
            model, RecipePresets.Parse(preset), Short with { Estimator = estimator, WeightDecay = 0 }, Texts.Random(100), Calibration, 1);
        var told = new Told();
        trainer.Train(told);
        var before = tiny.Tensors();
        Assert.All(model.Llama().named_parameters(), item => Assert.NotEqual(before[item.name].Values, Bits.Of(item.parameter)));
        Assert.Equal(Enumerable.Range(1, 5), trainer.Losses.Select(point => point.Step));
        Assert.Equal(trainer.Losses.Select(point => new RunProgress("train", point.Step, 5, point.Loss) { Tokens = 32, Perplexity = Math.Exp(point.Loss) }),
            told.All);
        Assert.Equal(trainer.Losses[^1].Loss, trainer.Convert().Provenance.Metrics["finalTrainingLoss"]);
    }

    [Fact]
    public void TrainLearnsTheScales()
    {
        using var model = new TinyLlama().Open(folder);
        using var untrained = new TinyLlama().Open(folder);
        var (recipe, text) = (RecipePresets.Parse("w4a8-g8-static"), Texts.Random(100));
        var trainer = new QuantizationAwareTrainer(model, recipe, Short, text, Calibration, 1);
        trainer.Train();
        var start = new QuantizationAwareTrainer(untrained, recipe, Short, text, Calibration, 1).Convert();
        foreach (var (learned, first) in trainer.Convert().Layers.Zip(start.Layers))
        {
            Assert.NotEqual(first.Weight.Scales, learned.Weight.Scales);
            Assert.Equal(first.Weight.ZeroPoints, learned.Weight.ZeroPoints);
            Assert.NotEqual(first.Input!.Static!.Value.Scale, learned.Input!.Static!.Value.Scale);
            Assert.Equal(first.Input!.Static!.Value.ZeroPoint, learned.Input!.Static!.Value.ZeroPoint);

            // Before training: the range with the least squared error.
            var weight = Bits.Of(untrained.Llama().Linears.Single(linear => linear.Key == first.Name).Value.Weight);
            var expected = Algorithms.RoundToNearest.Quantize(weight, first.Weight.Rows, first.Weight.Columns, first.Weight.Scheme, WeightRange.Search);
            Bits.Equal(expected.Scales, first.Weight.Scales);
            Assert.Equal(expected.Codes, first.Weight.Codes);
        }
    }

    [Fact]
    public void ConvertOfOneSeedHasTheSameBytes()
    {
        SortedDictionary<string, byte[]> Make(string name, long seed)
        {
            using var model = new TinyLlama().Open(folder);
            var trainer = new QuantizationAwareTrainer(model, RecipePresets.Parse("w3a8-g8-static"), Short, Texts.Random(100), Calibration, seed);
            trainer.Train();
            QuantizedModelFile.Save(trainer.Convert(), folder.File(name));
            return TemporaryFolder.Contents(folder.File(name));
        }

        var one = Make("one", 5);
        Assert.Equal(one, Make("again", 5));
        Assert.NotEqual(one["model.safetensors"], Make("other", 6)["model.safetensors"]);
    }

    [Fact]
    public void ConvertRecordsWhatWasDone()
    {
        using var model = new TinyLlama().Open(folder);
        var trainer = new QuantizationAwareTrainer(model, RecipePresets.Parse("w4a16-g8"), Short, Texts.Random(100), Calibration, 7);
        trainer.Train();
        var converted = trainer.Convert();
        Assert.Equal(("qat", 7L), (converted.Provenance.Method, converted.Provenance.Seed));
        Assert.Equal(Short, converted.Recipe.Qat);
        Assert.DoesNotContain("lm_head", converted.Layers.Select(layer => layer.Name));
    }

    [Fact]
    public void ControlTrainsTheFloatModelOnTheSameBatches()
    {
        var text = Texts.Random(400);
        var settings = Short with { Steps = 4, LearningRate = 1e-3 };
        using var untouched = new TinyLlama().Open(folder);
        using var float32 = new TinyLlama().Open(folder);
        using var quantized = new TinyLlama().Open(folder);
        var control = new QuantizationAwareTrainer(float32, null, settings, text, Calibration, 3);
        var trainer = new QuantizationAwareTrainer(quantized, RecipePresets.Parse("w8a16-g8"), settings, text, Calibration, 3);
        control.Train();
        trainer.Train();

        using (no_grad())
        {
            using var scope = NewDisposeScope();
            var batch = text.Batch(new RandomWindows(text, 16, 2, 3).Starts(1), 16);
            var logits = untouched.Llama().forward(batch[.., ..15]);
            var loss = nn.functional.cross_entropy(logits.reshape(-1, TinyLlama.Vocabulary), batch[.., 1..].reshape(-1)).item<float>();
            Assert.Equal(loss, control.Losses[0].Loss, 1e-5);
        }

        // 8 bits change little, other batches much.
        Assert.All(control.Losses.Zip(trainer.Losses), pair => Assert.Equal(pair.First.Loss, pair.Second.Loss, 0.02));
        Assert.InRange(control.Losses.Max(point => point.Loss) - control.Losses.Min(point => point.Loss), 0.1, 10);
        Assert.Throws<InvalidOperationException>(control.Convert);
        Assert.All(float32.Llama().Linears, linear => Assert.Null(linear.Value.WeightQuantizer));
    }

    [Fact]
    public void ControlIsRoundedToWhatTheCheckpointStores()
    {
        using var model = new TinyLlama { StoredAs = ElementType.F16 }.Open(folder);
        new QuantizationAwareTrainer(model, null, Short, Texts.Random(100), Calibration, 3).Train();
        Assert.All(model.Llama().parameters(), parameter => Assert.All(Bits.Of(parameter), value => Assert.Equal(value, ElementType.F16.Round(value))));
    }

    [Theory]
    [InlineData(0.1, 1, 0.1)]
    [InlineData(0.1, 5, 0.5)]
    [InlineData(0.1, 10, 1)]
    [InlineData(0.1, 55, 0.505)]
    [InlineData(0.1, 100, 0.01)]
    [InlineData(0, 50, 0.505)]
    [InlineData(0, 100, 0.01)]
    [InlineData(1, 25, 0.25)]
    [InlineData(1, 100, 0.01)]
    public void ScheduleRisesAndFallsAlongACosine(double warmUp, int step, double expected) =>
        Assert.Equal(expected, TrainingLoop.Schedule(new QatSettings { Steps = 100, WarmUp = warmUp, FinalLearningRate = 0.01 }, step), 1e-12);

    [Theory]
    [InlineData("w4a16-g8")]
    [InlineData("w4a8-static")]
    public void RecomputeChangesNothing(string preset)
    {
        foreach (var activations in new[] { ActivationEstimator.LearnedScale, ActivationEstimator.StraightThrough })
        {
            var (plain, again) = (LossesAndFiles(preset, Short with { Activations = activations }),
                LossesAndFiles(preset, Short with { Activations = activations, Recompute = true }));
            Assert.Equal(plain.Losses, again.Losses);
            Assert.Equal(plain.Files, again.Files);
        }
    }

    [Fact]
    public void RecomputeKeepsOnlyWhatGoesIntoTheBlocks()
    {
        using var model = new TinyLlama().Open(folder);
        var text = Texts.Random(100);
        long Kept(bool recompute)
        {
            model.Llama().Recompute = recompute;
            using var scope = NewDisposeScope();
            using var pause = CollectorPause.Begin();
            var before = scope.DisposablesCount;
            model.Llama().forward(text.Batch([0], 16));
            return scope.DisposablesCount - before;
        }

        // Without recomputation the tensors of both blocks are still there when the backward pass begins.
        Assert.InRange(Kept(recompute: true), 1, Kept(recompute: false) / 2);
    }

    [Fact]
    public void DampeningIsPartOfTheLoss()
    {
        var (without, with) = (LossesAndFiles("w2a16-g8", Short), LossesAndFiles("w2a16-g8", Short with { Dampening = 0.1 }));
        Assert.True(with.Losses[^1].Loss > without.Losses[^1].Loss + 0.1);
    }

    [Theory]
    [InlineData(1, 0)]
    [InlineData(1, 0.5)]
    public void DistillationBringsTheModelNearerToItsTeacher(double weight, double hidden)
    {
        var settings = Short with
        {
            Steps = 30,
            LearningRate = 3e-3,
            Distillation = new DistillationSettings { Weight = weight, Temperature = 2, Hidden = hidden }
        };
        var losses = LossesAndFiles("w3a16-g8", settings).Losses;
        Assert.True(losses[^1].Loss < (0.9 * losses[0].Loss));
    }

    [Fact]
    public void DistillationAtFullPrecisionHasNothingToLearn()
    {
        var settings = Short with { Steps = 1, Distillation = new DistillationSettings { Hidden = 1 } };
        Assert.InRange(LossesAndFiles("w8a16-g8", settings).Losses[0].Loss, 1e-9, 0.01);
    }

    [Theory]
    [InlineData(1, 1000, 1e-3)]
    [InlineData(1, 200, 2e-2)]
    [InlineData(0, 1000, 1e-3)]
    public void TeacherCacheGivesTheSameLossesWhetherOrNotItIsFilled(double hidden, int tokens, double tolerance)
    {
        var settings = Short with
        {
            LearningRate = 1e-3,
            Accumulation = 2,
            Distillation = new DistillationSettings { Weight = 0.8, Temperature = 2, Hidden = hidden }
        };
        IReadOnlyList<TrainingPoint> Train(TeacherCacheOptions? cache, int seed = 1)
        {
            using var model = new TinyLlama().Open(folder);
            var trainer = new QuantizationAwareTrainer(
                model, RecipePresets.Parse("w3a16-g8"), settings, Texts.Random(100), Calibration, seed)
            { TeacherCache = cache };
            trainer.Train();
            return trainer.Losses;
        }

        var (plain, cache) = (Train(null), new TeacherCacheOptions(folder.File("cache"), tokens));
        var first = Train(cache);
        var written = Directory.EnumerateFiles(cache.Folder, "*.bin", SearchOption.AllDirectories).ToDictionary(path => path, File.GetLastWriteTimeUtc);
        Assert.InRange(written.Count, 5, 10);
        Assert.Equal(first, Train(cache));
        Assert.All(written, file => Assert.Equal(file.Value, File.GetLastWriteTimeUtc(file.Key)));
        Assert.All(plain.Zip(first), pair => Assert.Equal(pair.First.Loss, pair.Second.Loss, tolerance * pair.First.Loss));

        var record = written.Keys.First();
        var bytes = File.ReadAllBytes(record);
        bytes[0] ^= 1;
        File.WriteAllBytes(record, bytes);
        Assert.Equal(
            $"{record} is damaged: its checksum does not match its contents; delete the file to compute it again",
            Assert.Throws<Nibble.Files.DamagedFileException>(() => Train(cache)).Message);
        File.Delete(record);
        Assert.Equal(first, Train(cache));
    }

    [Fact]
    public void BFloat16IsRefusedOnTheCpuWhereItIsFarSlower()
    {
        using var model = new TinyLlama().Open(folder);
        var refused = Assert.Throws<NibbleException>(
            () => new QuantizationAwareTrainer(model, null, Short with { Precision = TrainingPrecision.BFloat16 }, Texts.Random(100), Calibration, 1));
        Assert.StartsWith("the precision bfloat16 needs a device with bfloat16 products", refused.Message, StringComparison.Ordinal);

        using var scope = NewDisposeScope();
        var linear = model.Llama().Linears[0].Value;
        var x = ones(1, linear.InFeatures);
        var single = Bits.Of(linear.forward(x));
        linear.Precision = TrainingPrecision.BFloat16;
        var y = linear.forward(x);
        Assert.Equal(float32, y.dtype);
        Assert.All(single.Zip(Bits.Of(y)), pair => Assert.Equal(pair.First, pair.Second, 0.03));
        Assert.NotEqual(single, Bits.Of(y));
    }

    [Fact]
    public void HeldOutTextIsTheEndOfTheTextAndNeverTrainedOn()
    {
        using var model = new TinyLlama().Open(folder);
        var text = Texts.Random(100);
        var settings = Short with { EvaluateEvery = 2 };
        var trainer = new QuantizationAwareTrainer(model, RecipePresets.Parse("w4a16-g8"), settings, text, Calibration, 1);
        trainer.Train();
        Assert.Equal([2, 4, 5], trainer.HeldOutLosses.Select(point => point.Step));
        Assert.Equal(trainer.HeldOutLosses[^1].Loss, trainer.Convert().Provenance.Metrics["finalHeldOutLoss"]);

        using (NewDisposeScope())
        {
            var window = text.Batch([84], 16);
            var logits = model.Llama().forward(window.narrow(1, 0, 15));
            Assert.Equal(nn.functional.cross_entropy(logits[0], window[0].narrow(0, 1, 15)).item<float>(), trainer.HeldOutLosses[^1].Loss, 1e-5);
        }

        using var other = new TinyLlama().Open(folder);
        var changed = text with { Ids = [.. text.Ids[..84], .. Enumerable.Repeat(7, 16)] };
        var again = new QuantizationAwareTrainer(other, RecipePresets.Parse("w4a16-g8"), settings, changed, Calibration, 1);
        again.Train();
        Assert.Equal(trainer.Losses, again.Losses);
        Assert.NotEqual(trainer.HeldOutLosses, again.HeldOutLosses);
        Assert.Contains("expected at least two windows of 16",
            Assert.Throws<NibbleException>(() => new QuantizationAwareTrainer(other, null, settings, Texts.Random(31), Calibration, 1)).Message,
            StringComparison.Ordinal);
    }

    [Fact]
    public void TrainStopsBetweenSteps()
    {
        using var model = new TinyLlama().Open(folder);
        using var cancellation = new CancellationTokenSource();
        var trainer = new QuantizationAwareTrainer(model, RecipePresets.Parse("w4a16-g8"), Short, Texts.Random(100), Calibration, 1);
        var told = new Told(progress =>
        {
            if (progress.Done == 2)
            {
                cancellation.Cancel();
            }
        });
        Assert.Throws<OperationCanceledException>(() => trainer.Train(told, cancellation.Token));
        Assert.Equal(2, trainer.Losses.Count);
    }

    [Fact]
    public void TrainThatDivergesSaysWhatToDo()
    {
        using var model = new TinyLlama().Open(folder);
        var trainer = new QuantizationAwareTrainer(model, null, Short with { LearningRate = 1e30 }, Texts.Random(100), Calibration, 1);
        var message = Assert.Throws<NibbleException>(() => trainer.Train()).Message;
        Assert.Matches("^the training (loss|gradient) became (NaN|∞|Infinity) at step [2-5]. Lower the learning rate \\(it is 1E\\+30\\), lengthen the warm-up "
            + "\\(it is 0 of the steps\\) or lower the rate of the scales \\(it is 0\\.01\\)$", message);
    }

    [Fact]
    public void TrainerRefusesWhatItCannotTrain()
    {
        using var model = new TinyLlama().Open(folder);
        var nothing = new Recipe("mine", [new RecipeRule("transformer.*", new QuantizationScheme(4, true, Granularity.Channel))]);
        Assert.Contains(
            "the recipe 'mine' matches none of the 15 linear layers of tiny",
            Assert.Throws<NibbleException>(() => new QuantizationAwareTrainer(model, nothing, Short, Texts.Random(100), Calibration, 1)).Message,
            StringComparison.Ordinal);
        Assert.Contains(
            "quantizes keys per channel with ranges from calibration, which training would make invalid",
            Assert.Throws<NibbleException>(
                () => new QuantizationAwareTrainer(model, RecipePresets.Parse("w4a16-kv8c"), Short, Texts.Random(100), Calibration, 1)).Message,
            StringComparison.Ordinal);
        Assert.Contains(
            "expected at least one window of 16",
            Assert.Throws<NibbleException>(() => new QuantizationAwareTrainer(model, null, Short, Texts.Random(15), Calibration, 1)).Message,
            StringComparison.Ordinal);
    }

    private (IReadOnlyList<TrainingPoint> Losses, SortedDictionary<string, byte[]> Files) LossesAndFiles(string preset, QatSettings settings)
    {
        using var model = new TinyLlama().Open(folder);

        // The recipe's settings are stored: what computes the same is compared under the same ones.
        var trainer = new QuantizationAwareTrainer(model, RecipePresets.Parse(preset), settings, Texts.Random(100), Calibration, 1);
        trainer.Train();
        var path = folder.File(Guid.NewGuid().ToString());
        QuantizedModelFile.Save(trainer.Convert(), path);
        var files = TemporaryFolder.Contents(path);
        files.Remove("nibble.json");
        return (trainer.Losses, files);
    }

    private void RequireConversionKeeps(LoadedModel model, Recipe recipe, GradientEstimator estimator) =>
        RequireConversionKeeps(model, recipe, Short with { Estimator = estimator });

    private (IReadOnlyList<TrainingPoint> Losses, SortedDictionary<string, byte[]> Files) Trained(string preset, QatSettings settings)
    {
        using var model = new TinyLlama().Open(folder);

        // The recipe's settings are stored: what computes the same is compared under the same ones.
        var trainer = new QuantizationAwareTrainer(model, RecipePresets.Parse(preset), settings, Texts.Random(100), Calibration, 1);
        trainer.Train();
        var path = folder.File(Guid.NewGuid().ToString());
        QuantizedModelFile.Save(trainer.Convert(), path);
        var files = TemporaryFolder.Contents(path);
        files.Remove("nibble.json");
        return (trainer.Losses, files);
    }

    private void RequireConversionKeeps(LoadedModel model, Recipe recipe, QatSettings settings)
    {
        var text = Texts.Random(200);
        var trainer = new QuantizationAwareTrainer(model, recipe, settings, text, Calibration, 1);
        trainer.Train();
        QuantizedModelFile.Save(trainer.Convert(), folder.File("artifact"));
        using var converted = LoadedModel.Open(folder.File("artifact"));

        var trained = Evaluator.Evaluate(model.Decoder, text, 20);
        Assert.Equal(trained.Perplexity, Evaluator.Evaluate(converted.Decoder, text, 20).Perplexity, 1e-4 * trained.Perplexity);
        using var guard = no_grad();
        using var scope = NewDisposeScope();
        var tokens = tensor(text.Window(0, 30), 1, 30);
        var difference = (model.Llama().forward(tokens) - converted.Llama().forward(tokens)).abs().max().item<float>();
        Assert.InRange(difference, 0, 1e-4f);
    }
}

public sealed class QuantizationAwareTrainerRealModelTests
{
    [Fact]
    public void StoriesAt2BitsIsFarBetterTrainedThanRounded()
    {
        var recipe = RecipePresets.Parse("w2a16-g32");
        using var model = Texts.Stories();
        var (train, valid) = (Texts.TinyStories("train.txt", model), Texts.TinyStories("valid.txt", model));
        using var rounded = (IDecoder)LoadedModel.Simulate(PostTrainingQuantizer.Run(model, recipe, null, 1), "ptq");
        var roundedPerplexity = Evaluator.Evaluate(rounded, valid, 512, 5).Perplexity;

        var trainer = new QuantizationAwareTrainer(
            model, recipe, new QatSettings { Steps = 30, BatchSize = 4, SequenceLength = 128, LearningRate = 2e-3 }, train, new CalibrationOptions(), 1);
        trainer.Train();
        using var trained = (IDecoder)LoadedModel.Simulate(trainer.Convert(), "qat");
        var trainedPerplexity = Evaluator.Evaluate(trained, valid, 512, 5).Perplexity;
        Assert.InRange(trainedPerplexity, 3, roundedPerplexity / 5);
    }

    [Theory]
    [InlineData("w4a16-g32")]
    [InlineData("w2a8-g32")]
    public void StoriesTrainedAndConvertedAgreeOnEveryTokenOfTheText(string preset)
    {
        const int Length = 512;
        using var folder = new TemporaryFolder();
        using var model = Texts.Stories();
        var (train, valid) = (Texts.TinyStories("train.txt", model), Texts.TinyStories("valid.txt", model));
        var trainer = new QuantizationAwareTrainer(
            model, RecipePresets.Parse(preset), new QatSettings { Steps = 5, BatchSize = 2, SequenceLength = 64 }, train, new CalibrationOptions(), 1);
        trainer.Train();
        QuantizedModelFile.Save(trainer.Convert(), folder.File("artifact"));
        using var converted = LoadedModel.Open(folder.File("artifact"));

        var losses = new double[2];
        using var guard = no_grad();
        for (var window = 0; window < valid.WindowCount(Length); window++)
        {
            using var scope = NewDisposeScope();
            var tokens = tensor(valid.Window(window * Length, Length), 1, Length);
            var (trained, read) = (model.Llama().forward(tokens), converted.Llama().forward(tokens));
            Assert.Equal(trained.argmax(-1).data<long>().ToArray(), read.argmax(-1).data<long>().ToArray());
            losses[0] += Loss(trained, tokens);
            losses[1] += Loss(read, tokens);
        }

        Assert.Equal(Math.Exp(losses[0] / valid.WindowCount(Length)), Math.Exp(losses[1] / valid.WindowCount(Length)),
            1e-4 * Math.Exp(losses[0] / valid.WindowCount(Length)));

        static double Loss(Tensor logits, Tensor tokens) => nn.functional.cross_entropy(logits[0, ..^1], tokens[0, 1..]).item<float>();
    }
}
