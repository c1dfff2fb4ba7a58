using Nibble.Cli.Report.Documents;
using Nibble.Cli.Engines;
using Nibble.Cli.Report;

namespace Nibble.Cli.Tests.Report;

public sealed class BenchTableTests
{
    [Fact]
    public void TheMedianIsInTheMiddle()
    {
        Assert.Equal(new Spread(3, 2, 8), Spread.Of([90, 1, 8, 2, 3]));
        Assert.Equal(new Spread(2.5, 1.75, 4.5), Spread.Of([9, 1, 2, 3]));
        Assert.Equal(new Spread(4, 4, 4), Spread.Of([4]));
    }

    [Theory]
    [InlineData(0.61, 0.48, 0.62, "0.61 times float (0.48 to 0.62): slower")]
    [InlineData(1.8, 1.5, 2, "1.80 times float (1.50 to 2.00): faster")]
    [InlineData(1.02, 0.9, 1.2, "1.02 times float (0.90 to 1.20): no difference beyond the spread")]
    public void ASlowerFileIsCalledSlower(double median, double low, double high, string expected) =>
        Assert.Equal(expected, BenchTable.Verdict(new Spread(median, low, high)));

    [Theory]
    [InlineData(1, "one run")]
    [InlineData(3, "the median of 3 runs (quartiles)")]
    public void TheSettingTellsHowOftenWasMeasured(int repeats, string expected)
    {
        var one = new Spread(1, 1, 1);
        var file = new BenchedFile("w4", "w4.gguf", "llama.cpp", 1, one, one, one, one, one);
        var table = BenchTable.Of(new BenchDocument(BenchDocument.CurrentSchema, 2, 256, 64, repeats, file, null, null));
        Assert.Equal($"llama.cpp, 2 threads, a prompt of 256 tokens and 64 generated tokens; {expected}", table.Setting);
    }

    [Fact]
    public void RowsHoldWhatWasMeasuredAndHowItCompares()
    {
        var rows = BenchTable.Of(new BenchDocument(
            BenchDocument.CurrentSchema, 2, 256, 64, 3,
            File("w4", 1_000_000, 120.4, 110, 131),
            File("float", 4_000_000, 60.2, 60, 60.4),
            new BenchSpeedup(new Spread(0.5, 0.4, 0.6), new Spread(2, 1.9, 2.1)))).Rows;
        Assert.Equal(["size", "1.00 MB", "4.00 MB", "0.25 times float"], rows[0]);
        Assert.Equal(["prompt", "120 tokens/s (110 to 131)", "60.2 tokens/s (60.0 to 60.4)", "0.50 times float (0.40 to 0.60): slower"], rows[4]);
        Assert.Equal("2.00 times float (1.90 to 2.10): faster", rows[5][3]);

        static BenchedFile File(string name, long bytes, double median, double low, double high)
        {
            var (rate, one) = (new Spread(median, low, high), new Spread(1, 1, 1));
            return new BenchedFile(name, $"{name}.gguf", "llama.cpp", bytes, one, one, one, rate, rate);
        }
    }
}
