using Nibble.Recipes;
using System.Text.Json;
using Nibble.Cli.Report;
using static Nibble.Cli.Tests.Report.FakeComparison;

namespace Nibble.Cli.Tests.Report;

public class ComparisonJsonTests
{
    [Fact]
    public void DocumentNamesItsSchemaAndHoldsEveryRun()
    {
        using var document = JsonDocument.Parse(ComparisonJson.Serialize(Typical()));
        var root = document.RootElement;

        Assert.Equal("nibble.compare/2", root.GetProperty("schema").GetString());
        Assert.Equal("stories260K", root.GetProperty("model").GetProperty("name").GetString());
        Assert.Equal(FloatPerplexity, root.GetProperty("baseline").GetProperty("quality").GetDouble());
        Assert.Equal("learnedScale", root.GetProperty("qat").GetProperty("estimator").GetString());
        Assert.Equal(["float", "ptq", "qat"], root.GetProperty("runs").EnumerateArray().Take(3).Select(run => run.GetProperty("method").GetString()));
        foreach (var run in root.GetProperty("runs").EnumerateArray())
        {
            Assert.Equal(JsonValueKind.String, run.GetProperty("name").ValueKind);
            foreach (var number in new[] { "weightBits", "activationBits", "bitsPerWeight", "quality", "lossDifference", "divergence", "agreement", "bytes",
                "seconds", "peakBytes" })
            {
                Assert.Equal(JsonValueKind.Number, run.GetProperty(number).ValueKind);
            }
        }
    }

    [Fact]
    public void AdviceIsPartOfTheDocument()
    {
        using var document = JsonDocument.Parse(ComparisonJson.Serialize(Typical()));

        var widths = document.RootElement.GetProperty("advice").GetProperty("widths").EnumerateArray().ToList();
        Assert.Equal(["ptq", "ptq", "qat", "neither"], widths.Select(width => width.GetProperty("method").GetString()));
        Assert.Equal("qat w3a16-g32", widths[2].GetProperty("run").GetString());
    }

    [Fact]
    public void NumbersThatJsonCannotWriteAreNull()
    {
        var text = ComparisonJson.Serialize(Of(Run(Method.Ptq, 2, double.PositiveInfinity), Run(Method.Qat, 2, double.NaN)));

        using var document = JsonDocument.Parse(text);
        foreach (var run in document.RootElement.GetProperty("runs").EnumerateArray())
        {
            Assert.Equal(JsonValueKind.Null, run.GetProperty("quality").ValueKind);
            Assert.Equal(JsonValueKind.Null, run.GetProperty("lossDifference").ValueKind);
        }
    }

    [Fact]
    public void TheReportCanBeMadeOfTheDocument()
    {
        var text = ComparisonJson.Serialize(Typical());

        Assert.Equal(HtmlReport.Render(Typical()), HtmlReport.Render(ComparisonJson.Parse(text)));
        Assert.Equal(text, ComparisonJson.Serialize(ComparisonJson.Parse(text)));
        Assert.DoesNotContain("\r", text);
    }
}
