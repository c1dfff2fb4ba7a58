using System.Globalization;
using System.Text.RegularExpressions;
using Nibble.Cli.Report;
using Nibble.Cli.Tests.Commands;
using Nibble.Tests.Shared;

namespace Nibble.Cli.Tests.Documents;

/// <summary>What the README shows of the comparison is what benchmarks/readme.sh measured.</summary>
public sealed partial class ReadmePictureTests
{
    private static readonly string Measured = Repository.At("benchmarks", "results", "compare");

    [Fact]
    public async Task TheChartIsMadeFromTheMeasurements()
    {
        var folder = Directory.CreateTempSubdirectory("nibble-readme-");
        try
        {
            var chart = Path.Combine(folder.FullName, "chart.svg");
            await CommandRun.Succeeds("report", Measured, "--output", Path.Combine(folder.FullName, "report.html"), "--chart", chart);
            Assert.Equal(
                await File.ReadAllTextAsync(Repository.At("docs", "compare.svg"), TestContext.Current.CancellationToken),
                await File.ReadAllTextAsync(chart, TestContext.Current.CancellationToken));
        }
        finally
        {
            folder.Delete(recursive: true);
        }
    }

    [Fact]
    public void TheAnswersAndSamplesAreThoseThatWereMeasured()
    {
        var readme = Flat(File.ReadAllText(Repository.At("README.md")));
        var result = ComparisonJson.Parse(File.ReadAllText(Path.Combine(Measured, "compare.json")));

        Assert.All(Advice.For(result).Answers, answer => Assert.Contains(Flat($"{answer.Question} {answer.Text}"), readme, StringComparison.Ordinal));
        Assert.Contains("docs/compare.svg", readme, StringComparison.Ordinal);
        string?[] samples = [result.Baseline.Sample, .. result.Runs.Where(run => run.WeightBits == 2).Select(run => run.Sample)];
        Assert.Equal(3, samples.Length);
        Assert.All(samples, sample => Assert.Contains(Flat(sample!)[..100].Trim(), readme, StringComparison.Ordinal));
    }

    /// <summary>At 2 bits, rounding and training differ by at least a factor of 1.5 in perplexity, with each of three seeds.</summary>
    [Theory]
    [InlineData("")]
    [InlineData("seed-2")]
    [InlineData("seed-3")]
    public void TwoBitsShowTheCase(string seed)
    {
        var result = ComparisonJson.Parse(File.ReadAllText(Path.Combine(Measured, seed, "compare.json")));
        var runs = result.Runs.Where(run => run.WeightBits == 2).ToList();

        Assert.InRange(runs[0].LossDifference - runs[1].LossDifference, Math.Log(1.5), 2);
        Assert.Contains("(QAT) at 2 bits", Advice.For(result).Answers[^1].Text, StringComparison.Ordinal);
    }

    /// <summary>The comparison of a pretrained encoder in docs/results/encoders.md.</summary>
    [Fact]
    public void TheTableOfTheEncoderIsWhatWasMeasured()
    {
        var page = File.ReadAllText(Repository.At("docs", "results", "encoders.md"));
        var result = ComparisonJson.Parse(File.ReadAllText(Path.Combine(Measured, "sst2", "compare.json")));

        foreach (var width in result.Runs.Where(run => run.Method is not null).GroupBy(run => run.WeightBits))
        {
            var scores = width.OrderBy(run => run.Method).Select(run => Percent(run.Quality));
            Assert.Contains(
                $"| W{width.Key}A8 | {Percent(result.Baseline.Quality)} | {string.Join(" | ", scores)} |", page, StringComparison.Ordinal);
        }

        static string Percent(double share) => string.Create(CultureInfo.InvariantCulture, $"{share * 100:F2}");
    }

    private static string Flat(string text) => Space().Replace(text, " ").Trim();

    [GeneratedRegex(@"\s+")]
    private static partial Regex Space();
}
