using Nibble.Formats;
using Nibble.Recipes;
using Nibble.Torch.Calibration;
using Nibble.Torch.Qat;
using Nibble.Torch.Tests.Shared;

namespace Nibble.Torch.Tests.Models;

/// <summary>A tensor that nothing holds may be finalized while libtorch reads it; that once ended the process, now and then.</summary>
public sealed class GarbageCollectionTests : IDisposable
{
    private const int Rounds = 20;
    private readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    [Fact]
    public async Task LoadingTrainingAndConvertingSurviveAnEagerCollector()
    {
        using var stop = new CancellationTokenSource();
        var collecting = Task.Run(
            () =>
            {
                while (!stop.IsCancellationRequested)
                {
                    GC.Collect(0, GCCollectionMode.Forced, blocking: true);
                    GC.WaitForPendingFinalizers();
                }
            },
            TestContext.Current.CancellationToken);
        var tiny = new TinyLlama { StoredAs = ElementType.F16 };
        var expected = tiny.Tensors();
        var settings = new QatSettings { Steps = 1, BatchSize = 2, SequenceLength = 8 };
        for (var round = 0; round < Rounds; round++)
        {
            using var model = tiny.Open(folder);
            Assert.All(model.Model.named_parameters(), item => Bits.Equal(expected[item.name].Values, item.parameter));
            var trainer = new QuantizationAwareTrainer(model, RecipePresets.Parse("w4a8-g8-static"), settings, Texts.Random(64), new CalibrationOptions(2, 8), 1);
            trainer.Train(cancellation: TestContext.Current.CancellationToken);
            Assert.NotEmpty(trainer.Convert().Layers);
        }

        await stop.CancelAsync();
        await collecting;
    }
}
