using System.Text.RegularExpressions;
using System.Xml;
using System.Xml.Linq;
using Nibble.Cli.Report;
using Nibble.Recipes;
using static Nibble.Cli.Tests.Report.FakeComparison;

namespace Nibble.Cli.Tests.Report;

public class HtmlReportTests
{
    private static readonly string[] TextColors = ["ink", "quiet", "ptq", "qat", "float"];
    private static readonly string[] HeatColors = ["ptq", "qat"];
    private static readonly int[] ColorShifts = [16, 8, 0];

    [Fact]
    public void PageHasItsPartsInOrder()
    {
        var page = Parse(HtmlReport.Render(Typical()));

        Assert.Equal("en", page.Root!.Attribute("lang")!.Value);
        Assert.Equal("stories260K: PTQ and QAT compared by Nibble", page.Descendants("title").Single().Value);
        Assert.Equal(Advice.For(Typical()).Headline.Replace("8 bits", "8\u00A0bits").Replace("4 bits", "4\u00A0bits").Replace("3 bits", "3\u00A0bits")
            .Replace("2 bits", "2\u00A0bits"), page.Descendants("h1").Single().Value);
        Assert.Equal(
            ["Results", "Quality, width and time", "Error of each layer", "Weights before and after", "Generated text", "What was run",
                "How to read the numbers"],
            page.Descendants("h2").Select(heading => heading.Value));
        Assert.Equal(4, page.Descendants("svg").Count(svg => Is(svg, "chart")));
        Assert.Equal(16, page.Descendants("svg").Count(svg => Is(svg, "histogram")));
        Assert.Equal(10, page.Descendants("blockquote").Count());
        Assert.All(page.Descendants("svg"), svg => Assert.False(string.IsNullOrEmpty(svg.Attribute("aria-label")?.Value)));
        Assert.All(page.Descendants("th"), heading => Assert.NotNull(heading.Attribute("scope")));
        Assert.All(page.Descendants("table"), table => Assert.True(Is(table.Parent!, "scroll")));
    }

    [Fact]
    public void SummariesOfRunsNameTheRunsThatTheyHoldFor()
    {
        var typical = Typical();
        var kept = new KeptLayer("lm_head", "the rule 'lm_head' keeps it");
        var result = typical with
        {
            Runs = [.. typical.Runs.Select((run, i) => run.Method is null ? run : run with
            {
                Summary = new RunSummary(
                    [new SummarizedLayer("a", "int4", null, run.Method == Method.Ptq ? "rtn" : "qat")], [kept], i == 1 ? ["beware"] : []),
            })],
        };
        var section = Parse(HtmlReport.Render(result)).Descendants("section").Single(section => section.Element("h2")?.Value == "What happened to each layer");
        var facts = section.Descendants("dt").Zip(section.Descendants("dd"), (name, text) => $"{name.Value}: {text.Value}").ToList();
        string Names(Method method) => string.Join(", ", typical.Runs.Where(run => run.Method == method).Select(run => run.Name));
        Assert.Equal(
            [$"quantized: {Names(Method.Ptq)}: 1 layer to int4, by rtn", $"quantized: {Names(Method.Qat)}: 1 layer to int4, by qat"],
            facts.Where(fact => fact.StartsWith("quantized", StringComparison.Ordinal)).Order(StringComparer.Ordinal));
        Assert.Contains("kept float: all quantized runs: 1 layer: the rule 'lm_head' keeps it (lm_head)", facts);
        Assert.Equal($"warning: {typical.Runs[1].Name}: beware", facts[^1]);
    }

    [Fact]
    public void ResultsHoldTheCellsOfTheTable()
    {
        var table = Parse(HtmlReport.Render(Typical())).Descendants("table").Single(element => Is(element, "results"));

        var rows = table.Elements("tbody").Elements("tr").ToList();
        Assert.Equal(10, rows.Count);
        Assert.Equal(["qat w8a16", "qat w4a16-g32", "qat w3a16-g32", "qat w2a16-g32"],
            rows.Where(row => Is(row, "best")).Select(row => row.Descendants("bdi").Single().Value));
        Assert.Equal(["ptq w8a16", "ptq w4a16-g32", "qat w3a16-g32"],
            rows.Where(row => row.Descendants("span").Any()).Select(row => row.Descendants("bdi").Single().Value));
        Assert.Equal("−0.0120", rows[1].Elements().ElementAt(4).Value);
    }

    [Fact]
    public void TrainingCurvesOfOneMethodAreToldApart()
    {
        var curves = Parse(HtmlReport.Render(Typical())).Descendants("svg").Where(svg => Is(svg, "chart")).Last();
        var styles = curves.Descendants("path").Where(path => Is(path, "line")).Select(path => path.Attribute("class")!.Value).ToList();

        Assert.Equal(["line qat", "line qat nth-2", "line qat nth-3", "line qat nth-4", "line float"], styles);
        Assert.All(styles[1..4], style => Assert.Contains($".{style.Split(' ')[^1]} {{", HtmlReport.Render(Typical()), StringComparison.Ordinal));
    }

    [Fact]
    public void PageLoadsAndRunsNothing()
    {
        var html = HtmlReport.Render(Typical());
        var page = Parse(html);

        Assert.DoesNotMatch("https?:", html);
        Assert.DoesNotMatch(@"url\(|@import", html);
        Assert.DoesNotContain(page.Descendants(), element => element.Name.LocalName is "script" or "link" or "img" or "iframe" or "object" or "base");
        Assert.DoesNotContain(page.Descendants().Attributes(),
            attribute => attribute.Name.LocalName is "src" or "href" or "srcset" || attribute.Name.LocalName.StartsWith("on", StringComparison.Ordinal));
        Assert.Contains("default-src 'none'", html);
    }

    [Fact]
    public void HostileTextStaysText()
    {
        const string hostile = "</style></title><script>alert(\"1\")</script>'&amp;\0\u001b\uD800\uFFFE-->";
        var result = Typical();
        var page = Parse(HtmlReport.Render(result with
        {
            CommandLine = hostile,
            Prompt = hostile,
            Model = result.Model with { Name = hostile, Path = hostile, Family = hostile },
            Evaluation = result.Evaluation with { Name = hostile },
            Training = result.Training with { Name = hostile },
            Machine = result.Machine with { Cpu = hostile },
            Runs = [.. result.Runs.Select((run, i) => run with
            {
                Name = hostile + i,
                Recipe = run.Recipe + hostile,
                Sample = hostile,
                LayerErrors = [new LayerError(hostile, 0.1, 3)],
                WeightHistograms = [new WeightHistogram(hostile, [-1, 0, 1], [1, 2], [2, 1])],
            })],
        }));

        Assert.Empty(page.Descendants("script"));
        Assert.Single(page.Descendants("style"));
        var shown = hostile.Replace('\0', '\uFFFD').Replace('\u001b', '\uFFFD').Replace('\uD800', '\uFFFD').Replace('\uFFFE', '\uFFFD');
        Assert.StartsWith(shown, page.Descendants("title").Single().Value);
        Assert.Equal(shown, page.Descendants("code").Last().Value);
    }

    [Fact]
    public void PromptIsMarkedOnceWhetherOrNotTheSampleRepeatsIt()
    {
        var result = Typical() with { Prompt = "Once upon" };
        var page = Parse(HtmlReport.Render(result with
        {
            Baseline = result.Baseline with { Sample = "Once upon a time" },
            Runs = [Run(Method.Ptq, 4, 0.01) with { Sample = " a day" }],
        }));

        Assert.Equal(["Once upon a time", "Once upon a day"], page.Descendants("blockquote").Select(quote => quote.Value));
        Assert.Equal(["Once upon", "Once upon"], page.Descendants("mark").Select(mark => mark.Value));
    }

    [Fact]
    public void EveryShapeOfComparisonRenders()
    {
        ComparisonResult[] shapes =
        [
            Of(),
            Of(Control(0.1)),
            Of(Run(Method.Ptq, 4, 0.01)),
            Of(Run(Method.Qat, 4, 0.01)) with { Qat = null },
            Of(Run(Method.Ptq, 4, 0)),
            Of(Control(double.NaN), Run(Method.Ptq, 4, double.NaN), Run(Method.Qat, 4, double.PositiveInfinity)),
            Of(Run(Method.Ptq, 2, 4.8) with { Seconds = 0, Bytes = 0, Sample = null, LayerErrors = [], WeightHistograms = [] }),
            Of(Run(Method.Ptq, 2,
                4.8) with { LayerErrors = [new LayerError("a", 0), new LayerError("b", double.NaN), new LayerError("c", double.PositiveInfinity)] }),
            Of(Run(Method.Ptq, 2,
                4.8) with { WeightHistograms = [
                new WeightHistogram("a", [0, 0], [0], [0]), new WeightHistogram("b", [0, 1], [0], [0]), new WeightHistogram("c", [], [], [])] }),
            Of(Run(Method.Qat, 2, 4.8) with { TrainingLosses = [new TrainingLoss(1, double.NaN), new TrainingLoss(2, 1.5)] }),
            Of(Run(Method.Ptq, 4, 1e9), Run(Method.Qat, 4, -1e9) with { Seconds = 1e9 }),
        ];

        Assert.All(shapes, shape =>
        {
            var page = Parse(HtmlReport.Render(shape));
            var drawn = page.Descendants().Where(element => element.Name.LocalName is "path" or "line" or "circle" or "text")
                .Attributes().Where(attribute => attribute.Name.LocalName is "d" or "x" or "y" or "x1" or "x2" or "y1" or "y2" or "cx" or "cy");
            Assert.All(drawn, attribute => Assert.DoesNotMatch("NaN|∞|Infinity|E", attribute.Value));
        });
    }

    [Fact]
    public void RunWithoutAFiniteLossIsNamedBelowTheChart()
    {
        var page = Parse(HtmlReport.Render(Of(Run(Method.Ptq, 4, 0.01), Run(Method.Qat, 4, double.NaN))));

        Assert.Contains(page.Descendants("figcaption"),
            caption => caption.Value.Contains("Not drawn, because no finite loss was measured: qat w4a16-g32.", StringComparison.Ordinal));
        Assert.Single(page.Descendants("svg").First().Descendants("circle"));
    }

    [Fact]
    public void LabelsOfAChartDoNotOverlap()
    {
        ComparisonResult[] results = [Typical(), Crowded()];
        foreach (var chart in results.SelectMany(result => Parse(HtmlReport.Render(result)).Descendants("svg").Where(svg => Is(svg, "chart"))))
        {
            var labels = chart.Descendants("text").Where(text => Is(text, "label")).Select(text => (X: Start(text), Y: Number(text, "y"), Length: Length(text)))
                .ToList();
            for (var i = 0; i < labels.Count; i++)
            {
                for (var j = 0; j < i; j++)
                {
                    var (a, b) = (labels[i], labels[j]);
                    Assert.False(Math.Abs(a.Y - b.Y) < 12 && a.X < b.X + b.Length && b.X < a.X + a.Length, $"labels at {a} and {b}");
                }
            }
        }

        static double Start(XElement text) =>
            Number(text, "x") - (Length(text) * text.Attribute("text-anchor")!.Value switch { "start" => 0, "middle" => 0.5, _ => 1 });

        static double Length(XElement text) => text.Value.Length * 7.5;

        static double Number(XElement element, string name) => double.Parse(element.Attribute(name)!.Value, System.Globalization.CultureInfo.InvariantCulture);
    }

    [Fact]
    public void ColoursReachContrastAaInBothThemes()
    {
        var css = Parse(HtmlReport.Render(Typical())).Descendants("style").Single().Value;
        var themes = Regex.Matches(css, @":root \{(.*?)\}", RegexOptions.Singleline).Select(match =>
            Regex.Matches(match.Groups[1].Value, @"--(\w+): #(\w{6})")
                .ToDictionary(color => color.Groups[1].Value, color => Convert.ToInt32(color.Groups[2].Value, 16))).ToList();

        Assert.Equal(2, themes.Count);
        Assert.All(themes, theme =>
        {
            Assert.All(TextColors, name => Assert.True(Contrast(theme[name], theme["paper"]) >= 4.5, name));
            Assert.True(Contrast(theme["ink"], theme["marked"]) >= 4.5);
        });
        var shares = Regex.Matches(css, @"--heat: (\d+)%").Select(match => int.Parse(match.Groups[1].Value, System.Globalization.CultureInfo.InvariantCulture))
            .ToList();
        Assert.All(themes.Zip(shares), pair => Assert.All(
            HeatColors,
            name => Assert.True(Contrast(pair.First["ink"], Mix(pair.First[name], pair.First["paper"], pair.Second / 100.0)) >= 4.5, name)));
    }

    [Fact]
    public void SameResultWritesTheSamePage() => Assert.Equal(HtmlReport.Render(Typical()), HtmlReport.Render(Typical()));

    [Fact]
    public void WriteReplacesAnOlderReportAndLeavesNothingBesideIt()
    {
        var folder = Directory.CreateTempSubdirectory();
        try
        {
            var path = Path.Combine(folder.FullName, "report.html");
            HtmlPage.Write(path, HtmlPage.Render("Another report", []));

            HtmlReport.Write(Typical(), path);

            Assert.Equal(HtmlReport.Render(Typical()), File.ReadAllText(path));
            Assert.Equal([path], Directory.GetFiles(folder.FullName));
        }
        finally
        {
            folder.Delete(recursive: true);
        }
    }

    [Theory]
    [InlineData("")]
    [InlineData("my notes")]
    [InlineData("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<title>My notes on Nibble</title>\n</head>\n<body>\n</body>\n</html>\n")]
    public void WriteLeavesAFileThatNibbleDidNotWrite(string content)
    {
        var folder = Directory.CreateTempSubdirectory();
        try
        {
            var path = Path.Combine(folder.FullName, "report.html");
            File.WriteAllText(path, content);

            var message = Assert.Throws<NibbleException>(() => HtmlReport.Write(Typical(), path)).Message;
            Assert.Contains("is not a report that Nibble wrote, so it is not replaced", message, StringComparison.Ordinal);

            Assert.Equal(content, File.ReadAllText(path));
            Assert.Equal([path], Directory.GetFiles(folder.FullName));
        }
        finally
        {
            folder.Delete(recursive: true);
        }
    }

    [Fact]
    public void WriteIntoAMissingFolderSaysWhatToDo()
    {
        var path = Path.Combine(Path.GetTempPath(), Guid.NewGuid().ToString("N"), "report.html");

        var error = Assert.Throws<NibbleException>(() => HtmlReport.Write(Typical(), path));

        Assert.Contains(path, error.Message);
        Assert.Contains("Name a file in an existing folder", error.Message);
    }

    private static XDocument Parse(string html)
    {
        using var reader = XmlReader.Create(new StringReader(html), new XmlReaderSettings { DtdProcessing = DtdProcessing.Ignore });
        return XDocument.Load(reader);
    }

    private static bool Is(XElement element, string style) => (element.Attribute("class")?.Value ?? "").Split(' ').Contains(style);

    private static int Mix(int color, int paper, double share) =>
        ColorShifts.Sum(shift => (int)Math.Round((((color >> shift) & 255) * share) + (((paper >> shift) & 255) * (1 - share))) << shift);

    /// <summary>WCAG 2.2's contrast ratio.</summary>
    private static double Contrast(int a, int b)
    {
        var (light, dark) = (Math.Max(Luminance(a), Luminance(b)), Math.Min(Luminance(a), Luminance(b)));
        return (light + 0.05) / (dark + 0.05);

        static double Luminance(int color) =>
            (0.2126 * Channel(color >> 16)) + (0.7152 * Channel(color >> 8)) + (0.0722 * Channel(color));

        static double Channel(int value)
        {
            var share = (value & 255) / 255.0;
            return share <= 0.04045 ? share / 12.92 : Math.Pow((share + 0.055) / 1.055, 2.4);
        }
    }
}
