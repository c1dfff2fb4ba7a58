using Nibble.Torch.Training;
using Nibble.Recipes;
using Nibble.Torch.Tests.Shared;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace Nibble.Torch.Tests.Training;

public sealed class TrainingLoopTests : IDisposable
{
    private static readonly QatSettings Short =
        new() { Steps = 12, BatchSize = 4, SequenceLength = 2, LearningRate = 0.05, ScaleLearningRate = 0.05, WarmUp = 0, GradientClip = 1e6 };

    private readonly TemporaryFolder folder = new();

    private string Path => folder.File("checkpoint.safetensors");

    public void Dispose() => folder.Dispose();

    [Theory]
    [InlineData(2)]
    [InlineData(4)]
    public void AccumulationGivesTheWholeBatchsGradients(int parts)
    {
        using Toy whole = new(), accumulated = new();
        var gradients = new List<float[]>();
        foreach (var (toy, accumulation) in new[] { (whole, 1), (accumulated, parts) })
        {
            new TrainingLoop(toy.Task(accumulation), Short with { Steps = 1, Accumulation = accumulation }).Run();
            gradients.Add(Bits.Of(toy.Weight.grad!));
        }

        Assert.All(gradients[0].Zip(gradients[1]), pair => Assert.Equal(pair.First, pair.Second, 1e-6));
        Assert.Contains(gradients[0], value => Math.Abs(value) > 0.01);
    }

    [Fact]
    public void RunThatIsCancelledAtEveryStepEndsBitForBitLikeOneThatIsNot()
    {
        var settings = Short with { AverageDecay = 0.9, EvaluateEvery = 2, Patience = 50 };
        using var whole = new Toy();
        var expected = new TrainingLoop(whole.Task(), settings);
        expected.Run();

        for (var done = 0; ; done++)
        {
            // Everything is made anew, as in another process.
            using var toy = new Toy();
            using var cancellation = new CancellationTokenSource();
            var loop = new TrainingLoop(toy.Task(), settings);
            try
            {
                loop.Run(new CheckpointOptions(Path), new Told(_ => cancellation.Cancel()), cancellation.Token);
                Assert.Equal(settings.Steps, done + 1);
                Assert.Equal(expected.Losses, loop.Losses);
                Assert.Equal(expected.HeldOutLosses, loop.HeldOutLosses);
                Bits.Equal(Bits.Of(whole.Weight), toy.Weight);
                Bits.Equal(Bits.Of(whole.Scale), toy.Scale);
                Assert.Equal(whole.Counter.Count, toy.Counter.Count);
                return;
            }
            catch (OperationCanceledException)
            {
                Assert.Equal(done + 1, loop.Step);
            }
        }
    }

    [Fact]
    public void RunSavesItselfEverySoManyStepsButNotWhileTheLossIsTooHigh()
    {
        using var toy = new Toy();
        var saved = new List<bool>();
        new TrainingLoop(toy.Task(), Short with { Steps = 7 }).Run(new CheckpointOptions(Path, 3), new Told(_ =>
        {
            saved.Add(File.Exists(Path));
            File.Delete(Path);
        }));
        Assert.Equal([false, false, false, true, false, false, true], saved);
        Assert.True(File.Exists(Path));

        File.Delete(Path);
        using var exploding = new Toy { Offset = step => step > 4 ? 100 : 0 };
        var told = new Told();
        var message = Assert.Throws<NibbleException>(() => new TrainingLoop(exploding.Task(), Short).Run(new CheckpointOptions(Path, 1), told)).Message;
        Assert.Matches($@"^the training loss has exploded: it was above \d+\.\d+ for 5 steps and is 1\d\d\.\d+ at step 9. Lower the learning rate \(it is 0\.05\), .*\. The checkpoint of step 4 is in {Path}$", message);
        Assert.Equal(8, told.All.Count);
    }

    [Fact]
    public void RunToleratesAShortExcess()
    {
        using var toy = new Toy { Offset = step => step is > 4 and < 9 ? 100 : 0 };
        var loop = new TrainingLoop(toy.Task(), Short);
        loop.Run();
        Assert.Equal(Short.Steps, loop.Step);
    }

    [Fact]
    public void RunStopsAtAGradientThatIsNotFiniteBeforeItMovesAnything()
    {
        using var toy = new Toy { Offset = step => step == 3 ? double.NaN : 0 };
        var loop = new TrainingLoop(toy.Task(), Short);
        Assert.StartsWith("the training loss became NaN at step 3. ", Assert.Throws<NibbleException>(() => loop.Run()).Message, StringComparison.Ordinal);
        Assert.All(Bits.Of(toy.Weight), value => Assert.True(float.IsFinite(value)));
        Assert.Equal(2, loop.Step);
    }

    [Fact]
    public void AverageIsWhatIsLookedAtAndWhatRemains()
    {
        using Toy plain = new(), average = new();
        var seen = new List<float[]>();
        var weights = new List<float[]>();
        average.Look = () =>
        {
            seen.Add(Bits.Of(average.Weight));
            return 1;
        };
        var settings = Short with { Steps = 5 };
        new TrainingLoop(plain.Task(), settings).Run(null, new Told(_ => weights.Add(Bits.Of(plain.Weight))));
        new TrainingLoop(average.Task(), settings with { AverageDecay = 0.3, EvaluateEvery = 5 }).Run();

        using var start = new Toy();
        var expected = Bits.Of(start.Weight);
        for (var step = 1; step <= 5; step++)
        {
            var decay = Math.Min(0.3, (1d + step) / (10 + step));
            expected = [.. expected.Zip(weights[step - 1], (old, value) => (float)(old + ((1 - decay) * (value - old))))];
        }

        Assert.All(expected.Zip(Bits.Of(average.Weight)), pair => Assert.Equal(pair.First, pair.Second, 1e-6));
        Bits.Equal(Bits.Of(average.Weight), seen.Single());
        Bits.Equal(Bits.Of(plain.Scale), average.Scale);
    }

    [Fact]
    public void PatienceStopsEarlyAndTakesTheBestBack()
    {
        using var toy = new Toy();
        var (weights, counts, looks) = (new List<float[]>(), new List<int>(), 0);
        double[] heldOut = [3, 1, 2, 2.5, 0];
        toy.Look = () =>
        {
            weights.Add(Bits.Of(toy.Weight));
            counts.Add(toy.Counter.Count);
            return heldOut[looks++];
        };
        var loop = new TrainingLoop(toy.Task(), Short with { EvaluateEvery = 2, Patience = 2 });
        loop.Run();
        Assert.Equal(8, loop.Step);
        Assert.Equal([new(2, 3), new(4, 1), new(6, 2), new TrainingPoint(8, 2.5)], loop.HeldOutLosses);
        Bits.Equal(weights[1], toy.Weight);
        Assert.Equal(counts[1], toy.Counter.Count);
    }

    [Fact]
    public void PatienceDoesNotCountLooksBeforeTheQuantizationIsSettled()
    {
        using var toy = new Toy();
        var looks = 0;
        double[] heldOut = [0.1, 3, 2, 2.5];
        toy.Look = () => heldOut[looks++];
        var loop = new TrainingLoop(toy.Task() with { SettledStep = 4 }, Short with { Steps = 8, EvaluateEvery = 2, Patience = 2 });
        loop.Run();
        Assert.Equal(8, loop.Step);
    }

    [Fact]
    public void CheckpointOfAnotherTrainingIsRefused()
    {
        using var toy = new Toy();
        new TrainingLoop(toy.Task(), Short).Run(new CheckpointOptions(Path, 1));
        Refuses(toy.Task(), Short with { Steps = 5 }, "found 12 steps, expected at most 5");
        using var wide = new Toy(width: 5);
        Refuses(wide.Task(), Short, "tensor parameter.0 is F32 [3], expected F32 [5]");
        Refuses(toy.Task(), Short with { AverageDecay = 0.5 }, "tensor average.0 is missing");
        File.WriteAllText(Path, "rubbish!rubbish!");
        Assert.Throws<Nibble.Files.DamagedFileException>(() => new TrainingLoop(toy.Task(), Short).Run(new CheckpointOptions(Path)));

        void Refuses(TrainingTask task, QatSettings settings, string expected) => Assert.Contains(
            expected, Assert.Throws<NibbleException>(() => new TrainingLoop(task, settings).Run(new CheckpointOptions(Path))).Message,
            StringComparison.Ordinal);
    }

    [Fact]
    public void CheckpointWithAChangedByteIsRefusedWhereverItIs()
    {
        using var toy = new Toy();
        new TrainingLoop(toy.Task(), Short).Run(new CheckpointOptions(Path, 1));
        var whole = File.ReadAllBytes(Path);
        for (var place = 0; place < whole.Length; place += 37)
        {
            var bytes = (byte[])whole.Clone();
            bytes[place] ^= 4;
            File.WriteAllBytes(Path, bytes);
            Assert.Equal(
                $"{Path} is damaged: its checksum does not match its contents; the work cannot be resumed from it: start over",
                Assert.Throws<Nibble.Files.DamagedFileException>(() => new TrainingLoop(toy.Task(), Short).Run(new CheckpointOptions(Path))).Message);
        }

        File.WriteAllBytes(Path, whole);
        new TrainingLoop(toy.Task(), Short).Run(new CheckpointOptions(Path));
    }

    [Fact]
    public void ParametersThatNothingReachesStayAsTheyAre()
    {
        using var toy = new Toy();
        using var idle = new Parameter(ones(2));
        var task = toy.Task();
        new TrainingLoop(task with { Groups = [.. task.Groups, new ParameterGroup("idle", [idle], 1, 0.5)] }, Short).Run();
        Assert.Equal([1f, 1f], Bits.Of(idle));
    }

    /// <summary>Counts steps, as an observer would.</summary>
    private sealed class StepCounter : ITrainingState
    {
        public int Count { get; set; }

        public float[] Save() => [Count];

        public void Load(float[] values) => Count = (int)values[0];
    }

    /// <summary>A regression: the rows of a batch of 4, which depend on the step, against a weight and a scale.</summary>
    private sealed class Toy : IDisposable
    {
        private const int Rows = 4;
        private readonly int width;

        public Toy(int width = 3)
        {
            this.width = width;
            using var scope = NewDisposeScope();
            Weight = (Parameter)nn.Parameter(arange(width, dtype: float32) / 10).DetachFromDisposeScope();
            Scale = (Parameter)nn.Parameter(ones(1)).DetachFromDisposeScope();
        }

        public Parameter Weight { get; }

        public Parameter Scale { get; }

        public StepCounter Counter { get; } = new();

        public Func<int, double> Offset { get; init; } = _ => 0;

        public Func<double>? Look { get; set; }

        public TrainingTask Task(int parts = 1) => new(
            [new ParameterGroup("weights", [Weight], 0.05, 0.01), new ParameterGroup("scales", [Scale], 0.02, 0) { Averaged = false }],
            (step, part) =>
            {
                var random = new Random(step);
                var values = Enumerable.Range(0, Rows * width).Select(_ => (float)random.NextDouble()).ToArray();
                var rows = tensor(values, Rows, width).narrow(0, part * (Rows / parts), Rows / parts);
                return ((rows * Weight).sum(1) * Scale - rows.sum(1)).square().mean() + (float)Offset(step);
            })
        {
            States = [Counter],
            BeginStep = _ => Counter.Count++,
            HeldOutLoss = () => Look?.Invoke() ?? Weight.square().sum().item<float>(),
        };

        public void Dispose()
        {
            Weight.Dispose();
            Scale.Dispose();
        }
    }
}
