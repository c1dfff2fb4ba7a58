using Nibble.Numerics;
using Nibble.Recipes;
using Nibble.Torch.Calibration;
using Nibble.Torch.Data;
using Nibble.Torch.Evaluation;
using Nibble.Torch.Models.Bert;
using Nibble.Torch.Qat;
using Nibble.Torch.Tests.Shared;
using static TorchSharp.torch;

namespace Nibble.Torch.Tests.Models.Bert;

public sealed class ClassifierTrainerTests : IDisposable
{
    private static readonly QatSettings Settings = new() { Steps = 40, BatchSize = 8, LearningRate = 5e-3 };

    private readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    [Theory]
    [InlineData("bert")]
    [InlineData("roberta")]
    [InlineData("distilbert")]
    public void Train_LearnsWhichWordDecides(string type)
    {
        using var loaded = new TinyBert(type) { Dropout = 0 }.Create(folder);
        var data = ClassificationData.Read(folder.Write("train.tsv", Texts(96, seed: 1)), loaded);
        var unseen = ClassificationData.Read(folder.Write("dev.tsv", Texts(60, seed: 2)), loaded);
        var before = ClassificationEvaluator.Evaluate(loaded.Model, unseen);
        new ClassifierTrainer(loaded.Model, data, Settings with { Steps = 300 }, seed: 1).Train();
        var after = ClassificationEvaluator.Evaluate(loaded.Model, unseen);
        Assert.InRange(before.Loss, 1, 1.2);
        Assert.InRange(after.Accuracy, 0.6, 1);
        Assert.InRange(after.Loss, 0, 0.7);
        Assert.Equal(60, after.Count);
        Assert.False(loaded.Model.training);
    }

    [Fact]
    public void Train_OfTheSameSeed_GivesTheSameWeights()
    {
        var (first, again, other) = (Trained(3), Trained(3), Trained(4));
        Assert.Equal(first, again);
        Assert.NotEqual(first, other);

        float[] Trained(int seed)
        {
            using var loaded = new TinyBert().Create(folder);
            var data = ClassificationData.Read(folder.Write("train.tsv", Texts(40, seed: 1)), loaded);
            new ClassifierTrainer(loaded.Model, data, Settings with { Steps = 10 }, seed, maskedShare: 0.1).Train();
            return [.. loaded.Model.named_parameters().SelectMany(item => Bits.Of(item.parameter))];
        }
    }

    [Fact]
    public void Loss_IsThatOfItsStepsBatch()
    {
        using var loaded = new TinyBert().Open(folder);
        var data = ClassificationData.Read(folder.Write("train.tsv", Texts(20, seed: 1)), loaded);
        var trainer = new ClassifierTrainer(loaded.Model, data, Settings with { BatchSize = 20 }, seed: 1);
        using var scope = NewDisposeScope();
        Assert.Equal(ClassificationEvaluator.Evaluate(loaded.Model, data).Loss, trainer.Loss(3).item<float>(), 1e-5);
    }

    [Theory]
    [InlineData("bert", 8)]
    [InlineData("roberta", 4)]
    [InlineData("distilbert", 2)]
    public void Train_ThroughFakeQuantizers_ConvertsToWhatWasTrained(string type, int bits)
    {
        using var loaded = new TinyBert(type).Open(folder);
        using var teacher = new TinyBert(type).Open(folder);
        using var converted = new TinyBert(type).Create(folder);
        var data = ClassificationData.Read(folder.Write("train.tsv", Texts(40, seed: 1)), loaded);
        var recipe = new Recipe(
            "test",
            [
                new("*.word_embeddings", new QuantizationScheme(8, symmetric: true, Granularity.Channel)),
                new("*_embeddings", null),
                new("*", new QuantizationScheme(bits, symmetric: true, Granularity.Channel), new ActivationRule(new QuantizationScheme(8, symmetric: false, Granularity.Tensor))),
            ]);
        var inputs = ActivationCalibration.Run(loaded.Model, recipe, () => ClassificationEvaluator.Evaluate(loaded.Model, data));
        Assert.Equal(loaded.Model.Linears.Select(linear => linear.Key).Order(), inputs.Keys.Order());
        var exact = ClassificationEvaluator.Evaluate(loaded.Model, data);
        var prepared = QuantizationAware.Prepare(loaded.Model, recipe, new PrepareOptions { Inputs = inputs });
        var start = ClassificationEvaluator.Evaluate(loaded.Model, data);
        new ClassifierTrainer(loaded.Model, data, Settings with { Distillation = new DistillationSettings { Weight = 0.5, Temperature = 2 } }, seed: 1) { Prepared = prepared, Teacher = teacher.Model }.Train();
        var trained = ClassificationEvaluator.Evaluate(loaded.Model, data);
        QuantizationAware.Load(converted.Model, prepared.Convert());
        var result = ClassificationEvaluator.Evaluate(converted.Model, data);
        Assert.Equal(16 - 1, prepared.Layers.Count);
        Assert.NotEqual(exact.Loss, start.Loss);
        Assert.InRange(trained.Loss, 0, start.Loss - 0.1);
        Assert.Equal(trained.Accuracy, result.Accuracy);
        Assert.Equal(trained.Loss, result.Loss, 1e-5);
    }

    [Fact]
    public void Loss_WithATeacher_IsTheDivergenceFromIt()
    {
        using var loaded = new TinyBert().Open(folder);
        using var teacher = new TinyBert().Open(folder);
        var data = ClassificationData.Read(folder.Write("train.tsv", Texts(20, seed: 1)), loaded);
        var settings = Settings with { Distillation = new DistillationSettings { Weight = 1, Temperature = 3 } };
        using var scope = NewDisposeScope();
        var trainer = new ClassifierTrainer(loaded.Model, data, settings, seed: 1) { Teacher = teacher.Model };
        Assert.Equal(0, trainer.Loss(1).item<float>(), 1e-6);
        using (no_grad())
        {
            loaded.Model.named_parameters().Single(item => item.name == "classifier.bias").parameter.add_(tensor(new[] { 1f, 0, 0 }));
        }

        var loss = trainer.Loss(1);
        loss.backward();
        Assert.InRange(loss.item<float>(), 0.1, 10);
        Assert.All(teacher.Model.parameters(), parameter => Assert.Null(parameter.grad));
    }

    [Fact]
    public void Train_ThatWasInterrupted_GoesOnToTheSameWeights()
    {
        using var straight = new TinyBert().Create(folder);
        using var interrupted = new TinyBert().Create(folder);
        var data = ClassificationData.Read(folder.Write("train.tsv", Texts(40, seed: 1)), straight);
        var settings = Settings with { Steps = 8 };
        new ClassifierTrainer(straight.Model, data, settings, seed: 1, maskedShare: 0.2).Train();
        using var cancellation = new CancellationTokenSource();
        var steps = new Steps(step =>
        {
            if (step == 5)
            {
                cancellation.Cancel();
            }
        });
        var checkpoints = new CheckpointOptions(folder.File("checkpoint"));
        Assert.Throws<OperationCanceledException>(() => new ClassifierTrainer(interrupted.Model, data, settings, seed: 1, maskedShare: 0.2).Train(checkpoints, steps, cancellation.Token));
        using var resumed = new TinyBert().Create(folder, seed: 9);
        new ClassifierTrainer(resumed.Model, data, settings, seed: 1, maskedShare: 0.2).Train(checkpoints);
        var expected = straight.Model.named_parameters().ToDictionary(item => item.name, item => Bits.Of(item.parameter));
        Assert.All(resumed.Model.named_parameters(), item => Bits.Equal(expected[item.name], item.parameter));
    }

    [Fact]
    public void Train_StopsWhereTheLossIsNoNumber()
    {
        using var loaded = new TinyBert().Open(folder);
        var data = ClassificationData.Read(folder.Write("train.tsv", Texts(20, seed: 1)), loaded);
        using (no_grad())
        {
            loaded.Model.named_parameters().Single(item => item.name == "classifier.bias").parameter.fill_(float.NaN);
        }

        Assert.Contains("the training loss is NaN at step 1, before anything was trained",
            Assert.Throws<NibbleException>(() => new ClassifierTrainer(loaded.Model, data, Settings, seed: 1).Train()).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Train_StopsWhenAsked()
    {
        using var loaded = new TinyBert().Open(folder);
        var data = ClassificationData.Read(folder.Write("train.tsv", Texts(20, seed: 1)), loaded);
        using var cancellation = new CancellationTokenSource();
        var steps = new Steps(step =>
        {
            if (step == 2)
            {
                cancellation.Cancel();
            }
        });
        Assert.Throws<OperationCanceledException>(() => new ClassifierTrainer(loaded.Model, data, Settings, seed: 1).Train(progress: steps, cancellation: cancellation.Token));
        Assert.Equal(2, steps.Last);
    }

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
