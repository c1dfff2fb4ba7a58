using Nibble.Files;
using Nibble.Torch.Models;
using Nibble.Torch.Models.Decoders;
using Nibble.Torch.Ptq;
using Nibble.Torch.Ptq.Scaling;
using Nibble.Torch.Tests.Shared;
using static TorchSharp.torch;

namespace Nibble.Torch.Tests.Models;

public sealed class ChannelProducerTests : IDisposable
{
    private readonly TemporaryFolder folder = new();

    public static TheoryData<string, bool, string> Families => DecoderModelTests.Families;

    public void Dispose() => folder.Dispose();

    [Theory]
    [MemberData(nameof(Families))]
    public void FoldChangesNoOutput(string type, bool tied, string further)
    {
        foreach (var storedAs in new[] { ElementType.F32, ElementType.F16, ElementType.BF16 })
        {
            using var loaded = LoadedModel.Open(
                new TinyLlama { Type = type, Tied = tied, Further = further, StoredAs = storedAs }.Write(folder.File($"{storedAs}")));
            using var guard = no_grad();
            using var scope = NewDisposeScope();
            var block = loaded.Llama().Blocks[0];
            block.InputNorm!.Weight[3] = 0;
            block.FeedForwardNorm!.Weight[15] = -0.7;
            block.FeedForwardNorm.Weight.copy_(Conversion.RoundTo(block.FeedForwardNorm.Weight, storedAs));
            var x = Random(4, 2, 10, TinyLlama.Hidden);
            foreach (var stage in new QuantizationUnit(block, string.Empty).Stages)
            {
                var producer = stage.Producer!;
                var expected = block.forward(x);
                Tensor[] weights = [.. stage.Linears.Select(consumer => consumer.Value.Weight.clone())];
                var wished = producer.Tie(Random(5, stage.Linears[0].Value.InFeatures).exp(), (columns, axis) => columns.mean([axis]));
                var channels = producer.Realize(wished, storedAs);
                StageScaling.Fold(stage, channels, storedAs);
                var actual = block.forward(x);
                Assert.Equal(0, ((actual - expected).abs().max() / expected.abs().max()).item<float>(), 1e-5);

                // What was wished is what was done, up to what the norm's type can hold and dead channels.
                var columns = producer.Spread(channels);
                Assert.All(weights.Zip(stage.Linears), pair => Assert.True(allclose(pair.First * columns, pair.Second.Value.Weight, 1e-6)));
                Assert.Equal(wished.shape, channels.shape);
                var near = ((channels / wished) - 1).abs() < 0.005;
                Assert.Equal(wished.numel() - (stage.Number == DecoderBlock.AttentionInput ? 1 : 0), near.sum().item<long>());
                foreach (var norm in new[] { block.InputNorm, block.FeedForwardNorm })
                {
                    Bits.Equal(Bits.Of(Conversion.RoundTo(norm.Weight, storedAs)), norm.Weight);
                }
            }

            Assert.Equal(0, block.InputNorm.Weight[3].item<float>());
        }
    }

    /// <summary>Norms that add one, norms of outputs, and rows of fused projections.</summary>
    [Theory]
    [InlineData("gemma", 4)]
    [InlineData("gemma3", 4)]
    [InlineData("olmo2", 2)]
    [InlineData("phi3", 4)]
    [InlineData("granite", 4)]
    public void FoldChangesNoOutputOfAnotherFamily(string name, int producers)
    {
        using var loaded = LoadedModel.Open(ReferenceDecoder.Load(name).Write(folder.File("reference")));
        using var guard = no_grad();
        using var scope = NewDisposeScope();
        var block = loaded.Llama().Blocks[0];
        var x = Random(4, 2, 10, loaded.Definition.HiddenSize);
        var expected = block.forward(x);
        var stages = new QuantizationUnit(block, string.Empty).Stages.Where(stage => stage.Producer is not null).ToList();
        Assert.Equal(producers, stages.Count);
        foreach (var stage in stages)
        {
            var wished = stage.Producer!.Tie(Random(5, stage.Linears[0].Value.InFeatures).exp(), (columns, axis) => columns.mean([axis]));
            var before = stage.Linears[0].Value.Weight.clone();
            StageScaling.Fold(stage, stage.Producer.Realize(wished, ElementType.F32), ElementType.F32);
            Assert.Equal(0, ((block.forward(x) - expected).abs().max() / expected.abs().max()).item<float>(), 1e-5);
            Assert.False(allclose(before, stage.Linears[0].Value.Weight, 1e-2));
        }
    }

    [Fact]
    public void FactorsAreSharedByQueryHeadsOfOneKeyValueHead()
    {
        using var loaded = new TinyLlama().Open(folder);
        using var scope = NewDisposeScope();
        var producer = loaded.Llama().Blocks[0].Stages[DecoderBlock.AttentionOutput].Producer!;

        // Four query heads of 8, two key-value heads: heads 0 and 1 read the first.
        var columns = arange(32, dtype: float32);
        var tied = Bits.Of(producer.Tie(columns, (x, axis) => x.amax([axis])));
        Assert.Equal([8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31], tied);
        var spread = Bits.Of(producer.Spread(tensor(tied)));
        Assert.Equal([.. tied[..8], .. tied[..8], .. tied[8..], .. tied[8..]], spread);
    }

    private static Tensor Random(int seed, params long[] shape)
    {
        using var generator = new Generator((ulong)seed);
        return randn(shape, generator: generator);
    }
}
