using Nibble.Cli.Report.Documents;
using Nibble.Files;
using System.CommandLine;
using System.Globalization;
using System.Text;
using Nibble.Cli.Rendering;
using Nibble.Cli.Report;
using Nibble.Models;
using Nibble.Planning;
using Nibble.Recipes;
using Nibble.Torch.Planning;
using Spectre.Console;

namespace Nibble.Cli.Commands;

/// <summary><c>nibble mix</c>: chooses the bit width of each layer under a budget and writes a recipe.</summary>
internal static class MixCommand
{
    public static Command Create(CommandHost host)
    {
        var study = new StudyArguments([2, 3, 4, 5, 6, 8]);
        var defaults = new MixOptions(default);
        var budget = new Option<Budget>("--budget")
        {
            Description = "Budget of the recipe: average bits per weight code (3bits, 2.5bits), bytes of the artifact (200KB), "
                + "or loss over float (loss=0.1) in the unit of the task: nats, squared error, or 1 minus the cosine.",
            Required = true,
            CustomParser = result =>
            {
                try
                {
                    return Budget.Parse(result.Tokens[0].Value);
                }
                catch (NibbleException exception)
                {
                    result.AddError($"--budget: {exception.Message}.");
                    return default;
                }
            },
        };
        var output = new Option<string>("--output", "-o")
        { Description = "Recipe file to write: .yaml, .yml or .json. It must not exist yet.", Required = true };
        output.Validators.Add(result =>
        {
            if (result.Tokens is [{ Value: var path }] && Path.GetExtension(path) is not (".yaml" or ".yml" or ".json"))
            {
                result.AddError($"--output is {path}, expected a file name that ends in .yaml, .yml or .json.");
            }
        });
        var report = new Option<string?>("--report") { Description = "HTML report of the size-loss front and the layers. Default: named after the recipe." };
        var tie = new Option<bool>("--tie") { Description = "Give the same bit width to layers that engines fuse: q, k and v; gate and up." };
        var minutes = NumberOptions.Number(
            "--qat-minutes", value => value is > 0 and <= 1e5, "a number of minutes above 0",
            "Training time for nibble qat, in minutes. With it, mix also chooses which layers to train; PTQ quantizes the rest.");
        var rounds = NumberOptions.AtLeast(
            "--rounds", 0, $"Additional recipes to measure at the budget; each round learns from those before it, and the best recipe wins. "
            + $"Default: {defaults.Rounds}.");
        var points = NumberOptions.AtLeast("--points", 0, $"Recipes on the front to measure. Default: {defaults.FrontPoints}.");
        var json = CommonOptions.Json();
        var command = new Command(
            "mix", "Choose the bit width and algorithm of each layer under a budget, and write a recipe for ptq and qat. Run the same command again "
            + "to resume.");
        study.AddTo(command);
        foreach (var option in (Option[])[budget, output, minutes, report, tie, rounds, points, json])
        {
            command.Add(option);
        }

        command.SetAction(parsed =>
        {
            var path = parsed.GetValue(output)!;
            var page = parsed.GetValue(report) ?? Path.ChangeExtension(path, ".html");
            OutputPlace.RequireNewFile(path);
            OutputPlace.RequireReport(page, path);
            return study.Run(host, parsed, work =>
            {
                var asked = parsed.GetValue(budget);
                var options = new MixOptions(asked)
                {
                    Tied = parsed.GetValue(tie),
                    QatMinutes = parsed.GetValue(minutes),
                    Rounds = parsed.GetValue(rounds) ?? defaults.Rounds,
                    FrontPoints = parsed.GetValue(points) ?? defaults.FrontPoints,
                };
                var result = host.WithProgress(progress => MixPlanner.Run(work, options, progress, host.Cancellation));
                result = result with { Chosen = result.Chosen with { Recipe = result.Chosen.Recipe with { Name = Path.GetFileNameWithoutExtension(path) } } };
                var document = Describe(work, asked, path, result);
                CommandHost.Deliver(
                    () => WriteRecipe(path, result.Recipe, document),
                    () => HtmlPage.Write(page, MixReport.Render(document, result)),
                    () => Print(host, parsed.GetValue(json), document));
                if (!parsed.GetValue(json))
                {
                    host.Output.WriteLine($"recipe: {document.Recipe}");
                }

                return ExitCode.Done;
            });
        });
        return command;
    }

    private static MixDocument Describe(LayerStudy study, Budget budget, string path, MixResult result) => new(
        MixDocument.CurrentSchema, study.Source.Name, TaskConfig.NameOf(study.Source.Definition.Task!.Value), study.HeldOut.Name, budget.ToString(), path,
        Entry(result.Chosen), [.. result.Front.Select(Entry)], [.. result.Uniform.Select(Entry)], result.Coverage)
    {
        Methods = [.. result.Methods.Select(trial => new MethodEntry(
            trial.Trained, trial.Layers, trial.TriedSteps == 0 ? 0 : trial.Recipe.Qat.Steps, trial.StepSeconds, trial.TriedSteps, trial.Distance.Loss,
            trial.Distance.LossError))],
        Kept = result.Summary.Kept,
        Warnings = result.Summary.Warnings,
    };

    private static MixEntry Entry(MixPoint point) => new(
        point.Recipe.Name, point.AverageBits, point.Measured.Bytes, point.Predicted.Loss, point.Predicted.Low, point.Predicted.High,
        point.Measured.Distance.Loss, point.Measured.Distance.LossError, point.Measured.Distance.Divergence);

    private static void WriteRecipe(string path, Recipe recipe, MixDocument document)
    {
        var chosen = document.Chosen;
        var text = Path.GetExtension(path) == ".json"
            ? RecipeFile.ToJson(recipe) + "\n"
            : RecipeYaml.Write(
                recipe,
                string.Create(CultureInfo.InvariantCulture,
                    $"Made by nibble mix for {document.Budget}: {chosen.AverageBits:0.###} bits per weight code on average, {chosen.Bytes} bytes,"),
                string.Create(
                    CultureInfo.InvariantCulture,
                    $"a loss of {chosen.Loss:0.####} {document.Unit().Amount} over float on held-out data (standard error {chosen.LossError:0.####})."));
        AtomicFile.Write(path, stream => stream.Write(Encoding.UTF8.GetBytes(text)), replace: false);
    }

    private static void Print(CommandHost host, bool json, MixDocument document)
    {
        if (json)
        {
            host.WriteJson(document, CliJson.Default.MixDocument);
        }
        else
        {
            Render(host, document);
        }
    }

    private static void Render(CommandHost host, MixDocument document)
    {
        var table = new Table().Border(TableBorder.Simple).AddColumn("recipe");
        foreach (var title in (string[])["bits", "bytes", "predicted", "90 % between", "measured", "std. error"])
        {
            table.AddColumn(new TableColumn(title).RightAligned());
        }

        foreach (var point in document.Uniform.Concat(document.Front).Append(document.Chosen))
        {
            table.AddRow(
                Markup.Escape(point.Recipe), point.AverageBits.ToString("0.00", CultureInfo.InvariantCulture), Numbers.Count(point.Bytes),
                Numbers.Loss(point.Predicted),
                $"{Numbers.Loss(point.Low)} .. {Numbers.Loss(point.High)}", Numbers.Loss(point.Loss), Numbers.Divergence(point.LossError));
        }

        host.Console.WriteTable(table);
        host.Output.WriteLine($"losses are relative to float, in {document.Unit().Mean}, on held-out data; bits are per weight code, without scales");
        if (document.Front.Count > 0)
        {
            host.Output.WriteLine($"{Numbers.Share(document.Coverage)} of the front's recipes are within their predicted interval");
        }

        if (document.Methods is [var best, ..])
        {
            RenderMethods(host, document.Methods);
            host.Output.WriteLine(best.TriedSteps == 0
                ? "training gains nothing in this time: use the recipe with nibble ptq"
                : $"use the recipe with nibble qat, which trains {best.Layers} layers ({best.Trained}) for {best.Steps} steps");
        }

        foreach (var line in new RunSummary([], document.Kept, document.Warnings).Lines())
        {
            host.Output.WriteLine(line);
        }
    }

    private static void RenderMethods(CommandHost host, IReadOnlyList<MethodEntry> methods)
    {
        var table = new Table().Border(TableBorder.Simple).AddColumn("trained");
        foreach (var title in (string[])["layers", "steps", "seconds per step", "steps tried", "loss after them", "std. error"])
        {
            table.AddColumn(new TableColumn(title).RightAligned());
        }

        foreach (var method in methods)
        {
            table.AddRow(
                method.Trained, Numbers.Count(method.Layers), Numbers.Count(method.Steps), method.StepSeconds.ToString("0.00", CultureInfo.InvariantCulture),
                Numbers.Count(method.TriedSteps),
                Numbers.Loss(method.Loss), Numbers.Divergence(method.LossError));
        }

        host.Console.WriteTable(table);
    }
}
