using Nibble.Cli.Report;
using Nibble.Cli.Tests.Report;

namespace Nibble.Cli.Tests.Commands;

[Collection(OneAtATime.Name)]
public sealed class ReportCommandTests : IDisposable
{
    private readonly TinyFolder folder = new();

    public void Dispose() => folder.Dispose();

    [Fact]
    public async Task RebuildsTheReportOfASensitivityStudy()
    {
        await CommandRun.Succeeds(
            "sensitivity", folder.Model, "--data", folder.TrainingText, "--bits", "2", "--windows", "2", "--context", "16", "--cache", folder.At("cache"),
            "-o", folder.At("out"));
        var report = folder.At("out/report.html");
        var before = await File.ReadAllTextAsync(report, TestContext.Current.CancellationToken);
        File.Delete(report);

        await CommandRun.Succeeds("report", folder.At("out"));

        Assert.Equal(before, await File.ReadAllTextAsync(report, TestContext.Current.CancellationToken));
    }

    [Fact]
    public async Task RebuildsTheReportOfAdvice()
    {
        AdviceReport.WriteFolder(folder.At("out"), FakeAdvice.Document(), "report.html", "advise.json");
        var report = folder.At("out/report.html");
        var before = await File.ReadAllTextAsync(report, TestContext.Current.CancellationToken);
        File.Delete(report);

        await CommandRun.Succeeds("report", folder.At("out"));

        Assert.Equal(before, await File.ReadAllTextAsync(report, TestContext.Current.CancellationToken));
    }

    [Theory]
    [InlineData("compare.json", "{", "not a document of nibble.compare/2")]
    [InlineData("compare.json", """{ "schema": "nibble.compare/1" }""", "the schema is nibble.compare/1, expected nibble.compare/2")]
    [InlineData("compare.json", """{ "schema": "nibble.compare/2" }""", "not a document of nibble.compare/2")]
    [InlineData("sensitivity.json", "[]", "not a document of nibble.sensitivity/2")]
    [InlineData("sensitivity.json", """{ "schema": "nibble.sensitivity/2", "model": "m" }""", "not a document of nibble.sensitivity/2")]
    [InlineData("advise.json", """{ "schema": "nibble.advise/2" }""", "not a document of nibble.advise/2")]
    [InlineData("other.json", "{}", "none of compare.json, advise.json, sensitivity.json")]
    public async Task ADocumentThatIsNoneIsBadInput(string name, string text, string message)
    {
        folder.Write(name, text);

        var run = await CommandRun.Of("report", folder.Root);

        Assert.Equal(ExitCode.BadInput, run.ExitCode);
        Assert.Contains(message, run.Error, StringComparison.Ordinal);
        Assert.False(File.Exists(folder.At("report.html")));
    }
}
