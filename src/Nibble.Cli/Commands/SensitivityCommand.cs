using Nibble.Cli.Report.Documents;
using Nibble.Files;
using System.CommandLine;
using System.Text;
using System.Text.Json;
using Nibble.Cli.Rendering;
using Nibble.Cli.Report;
using Nibble.Models;
using Nibble.Planning;
using Nibble.Torch.Planning;
using Spectre.Console;

namespace Nibble.Cli.Commands;

/// <summary><c>nibble sensitivity</c>: measures the effect of quantizing one layer at a time.</summary>
internal static class SensitivityCommand
{
    private const string ReportName = "report.html";
    public const string DocumentName = "sensitivity.json";

    public static Command Create(CommandHost host)
    {
        var study = new StudyArguments([2, 3, 4, 8]);
        var activations = CommonOptions.Widths(
            "--activations", "Bit widths of inputs to try as well, 2 to 8, comma-separated; symmetric, per token. Default: none.", "8,4");
        var output = new Option<string?>("--output", "-o") { Description = $"New folder for {ReportName} and {DocumentName}." };
        var json = CommonOptions.Json();
        var command = new Command(
            "sensitivity", "Measure the effect of quantizing one layer at a time, at each bit width. Run the same command again to resume.");
        study.AddTo(command);
        command.Add(activations);
        command.Add(output);
        command.Add(json);
        command.SetAction(parsed =>
        {
            var folder = parsed.GetValue(output);
            if (folder is not null)
            {
                OutputPlace.RequireNewFolder(folder);
            }

            return study.Run(host, parsed, work =>
            {
                var document = host.WithProgress(progress => Describe(
                    work,
                    [.. work.MeasureWeights(progress, host.Cancellation),
                        .. work.MeasureActivations(parsed.GetValue(activations) ?? [], progress, host.Cancellation)],
                    work.EstimateWeights(progress, host.Cancellation)));
                CommandHost.Deliver(() => Write(folder, document), () => Print(host, parsed.GetValue(json), document));
                return ExitCode.Done;
            });
        });
        return command;
    }

    private static SensitivityDocument Describe(LayerStudy study, IReadOnlyList<LayerDistance> measured, IReadOnlyList<CurvatureEstimate> estimates)
    {
        var known = estimates.ToDictionary(estimate => (estimate.Layer, estimate.Change));
        List<SensitivityEntry> entries = [.. measured.Select(item =>
        {
            var estimate = known.GetValueOrDefault((item.Layer, item.Change));
            return new SensitivityEntry(
                item.Layer, item.Change, item.Distance.Loss, item.Distance.LossError, item.Distance.Divergence, item.Distance.DivergenceError, estimate?.Fisher,
                estimate?.HessianTrace);
        })];
        var correlations = entries.Where(entry => entry.Fisher is not null).GroupBy(entry => entry.Change)
            .Select(group => new SensitivityCorrelation(
                group.Key, Correlate(group, entry => entry.Fisher!.Value), Correlate(group, entry => entry.HessianTrace!.Value)));
        var task = study.Source.Definition.Task!.Value;
        return new SensitivityDocument(
            SensitivityDocument.CurrentSchema, study.Source.Name, TaskConfig.NameOf(task), study.HeldOut.Name,
            task == ModelTask.LanguageModelling ? study.Options.Context : null,
            study.HeldOut.CountPieces(study.Options.Context), entries, [.. correlations]);
    }

    private static double Correlate(IEnumerable<SensitivityEntry> entries, Func<SensitivityEntry, double> estimate) =>
        RankCorrelation.Spearman([.. entries.Select(entry => entry.Kl)], [.. entries.Select(estimate)]);

    private static void Write(string? folder, SensitivityDocument document)
    {
        if (folder is not null)
        {
            AtomicFile.MakeFolder(folder, work =>
            {
                HtmlPage.Write(Path.Combine(work, ReportName), SensitivityReport.Render(document));
                var json = JsonSerializer.Serialize(document, CliJson.Default.SensitivityDocument) + "\n";
                File.WriteAllText(Path.Combine(work, DocumentName), json, new UTF8Encoding(encoderShouldEmitUTF8Identifier: false));
            });
        }
    }

    private static void Print(CommandHost host, bool json, SensitivityDocument document)
    {
        if (json)
        {
            host.WriteJson(document, CliJson.Default.SensitivityDocument);
        }
        else
        {
            Render(host.Console, document);
        }
    }

    private static void Render(IAnsiConsole console, SensitivityDocument document)
    {
        var changes = document.Layers.Select(entry => entry.Change).Distinct().ToList();
        var (least, most) = (document.Layers.Select(entry => entry.Kl).Where(kl => kl > 0).DefaultIfEmpty(1).Min(), document.Layers.Max(entry => entry.Kl));
        var table = new Table().Border(TableBorder.Simple).AddColumn("layer");
        changes.ForEach(change => table.AddColumn(new TableColumn(change).RightAligned()));
        foreach (var layer in document.Layers.GroupBy(entry => entry.Layer))
        {
            var cells = layer.ToDictionary(entry => entry.Change, entry => $"[{Colour(entry.Kl)}]{Numbers.Divergence(entry.Kl)}[/]");
            table.AddRow([Markup.Escape(layer.Key), .. changes.Select(change => cells.GetValueOrDefault(change, string.Empty))]);
        }

        console.WriteTable(table);
        console.WriteLine($"{document.Unit().Divergence} when only this layer is quantized; {document.HeldOut()} of {document.Data}, held out");
        foreach (var correlation in document.Correlations)
        {
            var (fisher, trace) = (Numbers.Plain(Math.Round(correlation.Fisher, 3)), Numbers.Plain(Math.Round(correlation.HessianTrace, 3)));
            console.WriteLine($"{correlation.Change}: rank correlation with the measured divergence: {fisher} by Fisher information, {trace} by Hessian trace");
        }

        string Colour(double kl)
        {
            var share = Math.Log(Math.Max(kl, least) / least) / Math.Max(1e-9, Math.Log(most / least));
            return share switch { < 0.5 => "green", < 0.8 => "yellow", _ => "red" };
        }
    }
}
