using Nibble.Torch.Data;

namespace Nibble.Torch.Tests.Data;

public class RandomWindowsTests
{
    private static readonly TokenizedText Text = new("numbers", [.. Enumerable.Range(0, 11)], 99);

    [Fact]
    public void StartsAreDrawnFromTheWholeText()
    {
        var windows = new RandomWindows(Text, 8, 2, 5);
        var starts = new HashSet<int>();
        for (var step = 1; step <= 40; step++)
        {
            starts.UnionWith(windows.Starts(step));
            using var batch = Text.Batch(windows.Starts(step), 8);
            Assert.Equal([2, 8], batch.shape);
            foreach (var row in batch.data<long>().ToArray().Chunk(8))
            {
                Assert.Equal(99, row[0]);
                Assert.Equal(Enumerable.Range(0, 7).Select(i => row[1] + i), row[1..]);
            }
        }

        Assert.Equal([0, 1, 2, 3], starts.Order());
    }

    [Fact]
    public void StartsDependOnSeedAndStepAlone()
    {
        var forward = new RandomWindows(Text, 8, 2, 5);
        var expected = Enumerable.Range(1, 9).Select(step => forward.Starts(step).ToArray()).ToList();
        var again = new RandomWindows(Text, 8, 2, 5);
        Assert.Equal(expected[6], again.Starts(7));
        Assert.Equal(expected[2], again.Starts(3));
        Assert.NotEqual(expected, Enumerable.Range(1, 9).Select(step => new RandomWindows(Text, 8, 2, 6).Starts(step)).ToList());
    }
}
