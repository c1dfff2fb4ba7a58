using Nibble.Torch.Training;
using Nibble.Numerics;
using Nibble.Recipes;
using Nibble.Torch.Calibration;
using Nibble.Torch.Data;
using Nibble.Torch.Models;
using Nibble.Torch.Qat;
using Nibble.Torch.Tasks;
using Nibble.Torch.Tests.Models.Bert;
using Nibble.Torch.Tests.Shared;
using static TorchSharp.torch;

namespace Nibble.Torch.Tests.Tasks;

/// <summary>Encoders are trained by the trainer that trains decoders, in float and through fake quantizers.</summary>
public sealed class ClassificationTrainingTests : IDisposable
{
    private static readonly QatSettings Settings = new() { Steps = 40, BatchSize = 8, LearningRate = 5e-3 };
    private static readonly Classification Task = new Classification();

    private readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    [Theory]
    [InlineData("bert")]
    [InlineData("roberta")]
    [InlineData("distilbert")]
    public void TrainLearnsWhichWordDecides(string type)
    {
        using var loaded = new TinyBert(type) { Dropout = 0 }.Create(folder);
        var unseen = Read(loaded, Texts(60, seed: 2));
        var before = Score(loaded, unseen);
        Trainer(loaded, Read(loaded, Texts(96, seed: 1)), Settings with { Steps = 300 }).Train();
        var after = Score(loaded, unseen);
        Assert.InRange(before.Loss!.Value, 1, 1.2);
        Assert.InRange(after.Main.Value, 0.6, 1);
        Assert.InRange(after.Loss!.Value, 0, 0.7);
        Assert.Equal(60, after.Count);
        Assert.False(loaded.Model.Module.training);
    }

    [Fact]
    public void TrainOfTheSameSeedGivesTheSameWeights()
    {
        var (first, again, other) = (Trained(3), Trained(3), Trained(4));
        Assert.Equal(first, again);
        Assert.NotEqual(first, other);

        float[] Trained(int seed)
        {
            using var loaded = new TinyBert().Create(folder);
            Trainer(loaded, Read(loaded, Texts(40, seed: 1)), Settings with { Steps = 10 }, seed: seed).Train();
            return [.. loaded.Model.Parameters().SelectMany(item => Bits.Of(item.Value))];
        }
    }

    [Theory]
    [InlineData("bert", 8)]
    [InlineData("roberta", 4)]
    [InlineData("distilbert", 2)]
    public void TrainThroughFakeQuantizersConvertsToWhatWasTrained(string type, int bits)
    {
        using var loaded = new TinyBert(type).Open(folder);
        var data = Read(loaded, Texts(40, seed: 1));
        var recipe = new Recipe(
            "test",
            [
                new("*.word_embeddings", new QuantizationScheme(8, symmetric: true, Granularity.Channel)),
                new("*_embeddings", null),
                new("*", new QuantizationScheme(bits, symmetric: true, Granularity.Channel),
                    new ActivationRule(new QuantizationScheme(8, symmetric: false, Granularity.Tensor))),
            ]);
        var exact = Score(loaded, data);
        var trainer = Trainer(loaded, data, Settings with { Distillation = new DistillationSettings { Weight = 0.5, Temperature = 2 } }, recipe);
        var start = Score(loaded, data);
        trainer.Train();
        var trained = Score(loaded, data);
        var converted = trainer.Convert();
        using var simulated = LoadedModel.Simulate(converted, "converted");
        var result = Task.Evaluate(simulated, data, new ScoreOptions(), cancellation: TestContext.Current.CancellationToken);
        Assert.Equal(16 - 1, converted.Layers.Count);
        Assert.NotEqual(exact.Loss, start.Loss);
        Assert.InRange(trained.Loss!.Value, 0, start.Loss!.Value - 0.05);
        Assert.Equal(trained.Main.Value, result.Main.Value);
        Assert.Equal(trained.Loss!.Value, result.Loss!.Value, 1e-5);
    }

    [Theory]
    [InlineData(0, 0.02)]
    [InlineData(1, 0.2)]
    public void DistillationBeginsWithLittleLossWhereNothingIsRoundedMuch(double hidden, double most)
    {
        using var loaded = new TinyBert { Dropout = 0 }.Open(folder);
        var settings = Settings with
        {
            Steps = 2,
            LearningRate = 1e-9,
            ScaleLearningRate = 0,
            Distillation = new DistillationSettings { Hidden = hidden, Temperature = 3 }
        };
        var trainer = Trainer(loaded, Read(loaded, Texts(20, seed: 1)), settings, RecipePresets.Parse("w8a16-g8"));
        trainer.Train();
        Assert.All(trainer.Losses, point => Assert.InRange(point.Loss, 1e-9, most));
    }

    [Fact]
    public void TrainThatWasInterruptedGoesOnToTheSameWeights()
    {
        var settings = Settings with { Steps = 8 };
        using var straight = new TinyBert().Create(folder);
        var data = Read(straight, Texts(40, seed: 1));
        Trainer(straight, data, settings).Train();
        using var cancellation = new CancellationTokenSource();
        var steps = new Steps(step =>
        {
            if (step == 5)
            {
                cancellation.Cancel();
            }
        });
        var checkpoints = new CheckpointOptions(folder.File("checkpoint"));
        using var interrupted = new TinyBert().Create(folder);
        Assert.Throws<OperationCanceledException>(() => Trainer(interrupted, data, settings, checkpoints: checkpoints).Train(steps, cancellation.Token));
        Assert.Equal(5, steps.Last);
        using var resumed = new TinyBert().Create(folder, seed: 9);
        Trainer(resumed, data, settings, checkpoints: checkpoints).Train(cancellation: TestContext.Current.CancellationToken);
        var expected = straight.Model.Parameters().ToDictionary(item => item.Name, item => Bits.Of(item.Value));
        Assert.All(resumed.Model.Parameters(), item => Bits.Equal(expected[item.Name], item.Value));
    }

    [Fact]
    public void TrainStopsWhereTheLossIsNoNumber()
    {
        using var loaded = new TinyBert().Open(folder);
        using (no_grad())
        {
            loaded.Model.Parameters().Single(item => item.Name == "classifier.bias").Value.fill_(float.NaN);
        }

        Assert.Contains(
            "the training loss is NaN at step 1, before any training",
            Assert.Throws<NibbleException>(() => Trainer(loaded, Read(loaded, Texts(20, seed: 1)), Settings).Train()).Message,
            StringComparison.Ordinal);
    }

    private static QuantizationAwareTrainer Trainer(
        LoadedModel loaded, ITaskData data, QatSettings settings, Recipe? recipe = null, int seed = 1, CheckpointOptions? checkpoints = null) =>
        new(loaded, recipe, settings, data, CalibrationOptions.For(loaded.Definition), seed) { Checkpoints = checkpoints };

    private static TaskScore Score(LoadedModel loaded, ITaskData data) =>
        Task.Evaluate(loaded.Model, data, new ScoreOptions(), cancellation: TestContext.Current.CancellationToken);

    private TextData Read(LoadedModel loaded, string text) => (TextData)Task.Read(folder.Write("data.tsv", text), loaded, new ReadOptions());

    /// <summary>Texts whose class one word among others decides.</summary>
    private static string Texts(int count, int seed)
    {
        var random = new Random(seed);
        return string.Concat(Enumerable.Range(0, count).Select(i =>
        {
            var words = Enumerable.Range(0, random.Next(2, 7)).Select(_ => $"w{random.Next(9, TinyBert.Vocabulary)}").ToList();
            words.Insert(random.Next(words.Count + 1), (i % 3) switch { 0 => "bad", 1 => "good", _ => "film" });
            return $"{string.Join(' ', words)}\t{i % 3}\n";
        }));
    }

    private sealed class Steps(Action<long> told) : IProgress<RunProgress>
    {
        public long Last { get; private set; }

        public void Report(RunProgress value)
        {
            Last = value.Done;
            told(value.Done);
        }
    }
}
