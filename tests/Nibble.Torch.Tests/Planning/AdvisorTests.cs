using Nibble.Recipes;
using Nibble.Planning;
using Nibble.Torch.Models;
using Nibble.Torch.Planning;
using Nibble.Torch.Tests.Shared;

namespace Nibble.Torch.Tests.Planning;

public sealed class AdvisorTests : IDisposable
{
    private readonly TemporaryFolder folder = new();
    private readonly LoadedModel model;
    private double now;

    public AdvisorTests() => model = new TinyLlama().Open(folder);

    public void Dispose()
    {
        model.Dispose();
        folder.Dispose();
    }

    [Fact]
    public void WithTimeForAllEverythingIsMeasured()
    {
        var before = model.Llama().parameters().Select(parameter => parameter.sum().item<float>()).ToList();

        var result = Ask(() => now += 1e-4);

        Assert.All(result.Options, option => Assert.Equal(Evidence.Measured, option.Evidence));
        Assert.NotNull(result.Control);
        Assert.Equal(["float control", "qat w4a16-g8"], result.Curves.Select(curve => curve.Name));
        Assert.All(result.Curves, curve => Assert.Equal([6], curve.Points.Select(point => point.Steps)));
        Assert.Equal(before, model.Llama().parameters().Select(parameter => parameter.sum().item<float>()));
        Assert.Equal(4, result.Windows);
        Assert.Equal(model.Llama().Linears.Select(linear => linear.Key).Where(layer => layer != "lm_head"), result.Sensitivity.Select(item => item.Layer));
        Assert.All(result.Sensitivity, item =>
        {
            Assert.Equal("w4a16-g8", item.Change);
            Assert.InRange(item.Distance.Divergence, 1e-9, 1);
        });
    }

    [Fact]
    public void WithoutTimeForTrainingItsLossIsTypical()
    {
        // Each look at the clock takes long enough that nothing but the cheapest options fits.
        var result = Ask(() => now += 5);

        var qat = result.Options.Single(option => option.Method == Method.Qat);
        Assert.Equal(Evidence.Typical, qat.Evidence);
        Assert.Empty(result.Curves);
        Assert.Null(result.Control);
        Assert.Empty(result.Sensitivity);
    }

    [Theory]
    [InlineData(1e-9, Evidence.Typical, "float control")]
    [InlineData(1e-2, Evidence.Extrapolated, "float control", "qat w4a16-g8")]
    public void WherePtqIsEnoughTrainingIsTriedOnlyIfTheControlGainsMuch(double rate, object evidence, params string[] curves)
    {
        var result = Ask(() => now += 0.05, steps: 400, seconds: 20, tolerance: 100, rate: rate);

        Assert.Equal(curves, result.Curves.Select(curve => curve.Name));
        Assert.Equal(evidence, result.Options.Single(option => option.Method == Method.Qat).Evidence);
    }

    [Fact]
    public void CalibrationLooksAtNoMoreTokensThanAllowed()
    {
        var result = Ask(() => now += 1e-4, constraints: new Constraints { CalibrationTokens = 40, MayTrain = false });

        Assert.All(result.Options.Where(option => option is { Trains: false, NeedsData: true }), option => Assert.Equal(32, option.Tokens));
        Assert.All(result.Options.Where(option => !option.Trains), option => Assert.Equal(Evidence.Measured, option.Evidence));
    }

    [Fact]
    public void ShortTrainingsPredictTheWholeOne()
    {
        var result = Ask(() => now += 0.05, steps: 400, seconds: 60);

        var qat = result.Options.Single(option => option.Method == Method.Qat);
        Assert.Equal((Evidence.Extrapolated, 400), (qat.Evidence, qat.Steps));
        Assert.All(result.Curves, curve => Assert.Equal(3, curve.Points.Count));
        Assert.True(result.ProbeSeconds <= 60 * 1.1, $"{result.ProbeSeconds} s");
        Assert.True(qat.Loss.Low < qat.Loss.Value && qat.Loss.Value < qat.Loss.High);
    }

    [Fact]
    public void WhereTimeIsShortShorterTrainingsAreOffered()
    {
        var result = Ask(() => now += 0.05, steps: 400, seconds: 60, constraints: new Constraints { Seconds = 1e-6 });

        Assert.Equal([400, 133, 40], result.Options.Where(option => option.Method == Method.Qat).Select(option => option.Steps));
        Assert.Null(result.Decision.Recommended);
    }

    [Fact]
    public void WorkIsStoppedWhenItsTimeIsOver()
    {
        var budget = new ProbeBudget(() => now, 10, null, CancellationToken.None);
        var reports = 0;

        var ended = budget.Try(
            "it",
            5,
            (progress, stop) =>
            {
                while (true)
                {
                    now += 1;
                    reports++;
                    progress.Report(new RunProgress("work", reports, 100));
                    stop.ThrowIfCancellationRequested();
                }
            },
            out var taken);

        Assert.False(ended);
        Assert.Equal((6, 6d), (reports, taken));
    }

    [Fact]
    public void TheUserSWishToStopIsNoEndOfTime()
    {
        using var user = new CancellationTokenSource();
        var budget = new ProbeBudget(() => now, 10, null, user.Token);

        Assert.Throws<OperationCanceledException>(() => budget.Try("it", 5, (_, stop) => { user.Cancel(); stop.ThrowIfCancellationRequested(); }, out _));
    }

    private AdvisorResult Ask(
        Func<double> clock, int steps = 6, double seconds = 60, Constraints? constraints = null, double? tolerance = null, double rate = 1e-3)
    {
        var candidates = Candidate.For(4, 16, 8, Engine.Nibble).Select(candidate => candidate with
        {
            Recipe = candidate.Recipe with
            {
                Qat = candidate.Recipe.Qat with { Steps = steps, BatchSize = 2, SequenceLength = 16, LearningRate = rate, FloatLearningRate = rate },
                Ptq = candidate.Recipe.Ptq with { Windows = 4, SequenceLength = 16 },
            },
        });
        return Advisor.Run(new AdvisorOptions(model, Texts.Random(2000), Texts.Random(400, seed: 2), [.. candidates])
        {
            Clock = clock,
            ProbeSeconds = seconds,
            Context = 16,
            Windows = 4,
            Constraints = constraints ?? new Constraints(),
            Tolerance = tolerance ?? Thresholds.SmallLoss,
        });
    }
}
