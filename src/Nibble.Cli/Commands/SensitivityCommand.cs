using Nibble.Cli.Report.Documents;
using Nibble.Files;
using System.CommandLine;
using System.Text;
using System.Text.Json;
using System.Text.Json.Serialization.Metadata;
using Nibble.Cli.Rendering;
using Nibble.Cli.Report;
using Nibble.Models;
using Nibble.Onnx.Quantization;
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
        var study = new StudyArguments(
            [2, 3, 4, 8], " Or a float ONNX file, whose convolutions and products are quantized to 8 bits.",
            " For an ONNX file, what its inputs are in use, as in nibble quantize.");
        var samples = new OnnxDataOptions(study.Data, "ONNX only.", "Samples to calibrate on at most. Default: 128.")
        {
            RandomWarning = "random data: the ranges, and with them the losses below, are not those of real data",
        };
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
        foreach (var option in samples.Own)
        {
            command.Add(option);
        }

        command.Validators.Add(result =>
        {
            var isOnnx = result.GetResult(study.Model)?.Tokens is [{ Value: var path }] && IsOnnx(path);
            OnnxDataOptions.Refuse(
                result, isOnnx ? [.. study.Settings, activations] : samples.Own,
                $"is for {(isOnnx ? "model folders" : "ONNX files")}, but MODEL is {(isOnnx ? "an ONNX file" : "no ONNX file (*.onnx)")}");
        });
        command.SetAction(parsed =>
        {
            var folder = parsed.GetValue(output);
            if (folder is not null)
            {
                OutputPlace.RequireNewFolder(folder);
            }

            if (IsOnnx(parsed.GetValue(study.Model)!))
            {
                return RunOnnx(host, parsed, parsed.GetValue(study.Model)!, samples, folder, parsed.GetValue(json));
            }

            return study.Run(host, parsed, work =>
            {
                var document = host.WithProgress(progress => Describe(
                    work,
                    [.. work.MeasureWeights(progress, host.Cancellation),
                        .. work.MeasureActivations(parsed.GetValue(activations) ?? [], progress, host.Cancellation)],
                    work.EstimateWeights(progress, host.Cancellation)));
                CommandHost.Deliver(
                    () => Write(folder, document, SensitivityReport.Render, CliJson.Default.SensitivityDocument),
                    () => Print(host, parsed.GetValue(json), document));
                return ExitCode.Done;
            });
        });
        return command;
    }

    private static bool IsOnnx(string path) => path.EndsWith(".onnx", StringComparison.OrdinalIgnoreCase);

    private static int RunOnnx(CommandHost host, ParseResult parsed, string model, OnnxDataOptions samples, string? folder, bool json)
    {
        var data = samples.Open(host, parsed, model);
        var defaults = samples.Run(parsed);
        var options = defaults with
        {
            Samples = samples.Limit(parsed) ?? defaults.Samples,
            DataName = data.Description,
            Logger = new WarningLogger(host.Warn),
        };
        var result = host.WithProgress(progress => OnnxQuantizer.Sensitivity(model, data.Samples(), options, progress, host.Cancellation));
        var document = new OnnxSensitivityDocument(
            OnnxSensitivityDocument.CurrentSchema, model, data.Description, result.CalibrationSamples, result.MeasuredSamples, result.IsHeldOut, result.Nodes);
        CommandHost.Deliver(
            () => Write(folder, document, SensitivityReport.Render, CliJson.Default.OnnxSensitivityDocument),
            () =>
            {
                if (json)
                {
                    host.WriteJson(document, CliJson.Default.OnnxSensitivityDocument);
                }
                else
                {
                    Render(host.Console, document);
                }
            });
        return ExitCode.Done;
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

    private static void Write<T>(string? folder, T document, Func<T, string> render, JsonTypeInfo<T> type)
    {
        if (folder is not null)
        {
            AtomicFile.MakeFolder(folder, work =>
            {
                HtmlPage.Write(Path.Combine(work, ReportName), render(document));
                var json = JsonSerializer.Serialize(document, type) + "\n";
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

    private static void Render(IAnsiConsole console, OnnxSensitivityDocument document)
    {
        var table = new Table().Border(TableBorder.Simple).AddColumn("node").AddColumn("operator")
            .AddColumn(new TableColumn("relative error").RightAligned()).AddColumn(new TableColumn("time in float").RightAligned());
        foreach (var node in document.Nodes)
        {
            table.AddRow(
                Markup.Escape(TerminalText.Printable(node.Node)), Markup.Escape(TerminalText.Printable(node.Operator)), Numbers.RelativeError(node.Loss),
                node.Milliseconds());
        }

        console.WriteTable(table);
        console.WriteLine("largest relative error of an output when only this node is quantized to 8 bits; time of the node with one thread");
        console.WriteLine(document.Measured());
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
