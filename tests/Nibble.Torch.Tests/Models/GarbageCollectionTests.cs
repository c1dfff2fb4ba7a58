using Nibble.Files;
using Nibble.Recipes;
using Nibble.Torch.Ptq;
using Nibble.Torch.Tests.Shared;

namespace Nibble.Torch.Tests.Models;

/// <summary>A tensor that nothing holds may be finalized while libtorch reads it; that once ended the process, now and then.</summary>
public sealed class GarbageCollectionTests : IDisposable
{
    private const int Rounds = 20;
    private readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    [Fact]
    public async Task LoadingAndConvertingSurviveAnEagerCollector()
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
        for (var round = 0; round < Rounds; round++)
        {
            using var model = tiny.Open(folder);
            Assert.All(model.Llama().named_parameters(), item => Bits.Equal(expected[item.name].Values, item.parameter));
            Assert.NotEmpty(PostTrainingQuantizer.Run(model, RecipePresets.Parse("w4a16-g8"), null, 1).FloatTensors);
        }

        await stop.CancelAsync();
        await collecting;
    }
}
