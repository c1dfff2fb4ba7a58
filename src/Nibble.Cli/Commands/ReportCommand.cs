using System.CommandLine;
using System.Text;
using System.Text.Json;
using Nibble.Cli.Report;
using Nibble.Cli.Report.Documents;
using Nibble.Files;

namespace Nibble.Cli.Commands;

/// <summary><c>nibble report</c>: rebuilds an HTML report from the JSON document next to it.</summary>
internal static class ReportCommand
{
    private const string ReportName = "report.html";

    private static readonly (string Name, string Schema, Func<string, (string Html, string? Chart)> Render)[] Documents =
    [
        (CompareCommand.DocumentName, ComparisonJson.Schema, OfComparison),
        (AdviseCommand.DocumentName, AdviceDocument.CurrentSchema,
            text => (AdviceReport.Render(JsonSerializer.Deserialize(text, CliJson.Default.AdviceDocument)!), null)),
        (SensitivityCommand.DocumentName, SensitivityDocument.CurrentSchema,
            text => (SensitivityReport.Render(JsonSerializer.Deserialize(text, CliJson.Default.SensitivityDocument)!), null)),
        (SensitivityCommand.DocumentName, OnnxSensitivityDocument.CurrentSchema,
            text => (SensitivityReport.Render(JsonSerializer.Deserialize(text, CliJson.Default.OnnxSensitivityDocument)!), null)),
    ];

    public static Command Create(CommandHost host)
    {
        var folder = new Argument<string>("FOLDER") { Description = "Output folder of compare, advise or sensitivity." };
        var output = new Option<string?>("--output", "-o") { Description = $"Report to write. Default: {ReportName} in FOLDER." };
        var chart = new Option<string?>("--chart") { Description = "SVG file for the chart of loss over bit width. Comparisons only." };
        var command = new Command("report", "Rebuild the HTML report of a comparison, of advice or of a sensitivity study from its JSON document.")
        {
            folder, output, chart,
        };
        command.SetAction(parsed =>
        {
            var source = parsed.GetValue(folder)!;
            var path = parsed.GetValue(output) ?? Path.Combine(source, ReportName);
            var (html, svg) = Render(source);
            OutputPlace.RequireReport(path);
            if (parsed.GetValue(chart) is { } picture)
            {
                OutputPlace.RequireNewFile(picture);
                var drawn = svg ?? throw new NibbleException($"{source} has no loss to draw; {chart.Name} is for the output of compare");
                AtomicFile.Write(picture, stream => stream.Write(Encoding.UTF8.GetBytes(drawn)));
            }

            HtmlPage.Write(path, html);
            host.Output.WriteLine($"report: {Path.GetFullPath(path)}");
            return ExitCode.Done;
        });
        return command;
    }

    private static (string Html, string? Chart) Render(string folder)
    {
        foreach (var kinds in Documents.GroupBy(known => known.Name))
        {
            if (Path.Combine(folder, kinds.Key) is var path && File.Exists(path))
            {
                return Read(path, [.. kinds]);
            }
        }

        throw new NibbleException(
            $"{folder} has none of {string.Join(", ", Documents.Select(known => known.Name).Distinct())}; expected the output folder of compare, advise or "
                + "sensitivity");
    }

    private static (string Html, string? Chart) OfComparison(string text)
    {
        var result = ComparisonJson.Parse(text);
        return (HtmlReport.Render(result), ReportCharts.LossByBits(result)?.Element("svg") is { } svg ? HtmlPage.RenderSvg(svg) : null);
    }

    private static (string Html, string? Chart) Read(
        string path, IReadOnlyList<(string Name, string Schema, Func<string, (string Html, string? Chart)> Render)> kinds)
    {
        var expected = string.Join(" or ", kinds.Select(kind => kind.Schema));
        try
        {
            var text = InputFile.ReadText(path);
            using var document = JsonDocument.Parse(text);
            var schema = document.RootElement.TryGetProperty("schema", out var named) ? named.GetString() : null;
            return kinds.FirstOrDefault(kind => kind.Schema == schema).Render is { } render ? render(text)
                : throw new NibbleException($"{path}: the schema is {schema ?? "missing"}, expected {expected}; it was written by another version of Nibble");
        }
        catch (Exception exception) when (exception is JsonException or InvalidOperationException)
        {
            throw new NibbleException($"{path}: not a document of {expected}: {exception.Message}", exception);
        }
    }
}
