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

/// <summary><c>nibble mix</c>: the best widths of a model's layers under a budget, as a recipe.</summary>
internal static class MixCommand
{
    public static Command Create(CommandHost host)
    {
        var study = new StudyArguments([2, 3, 4, 5, 6, 8]);
        var usual = new MixOptions(default);
        var budget = new Option<Budget>("--budget")
        {
            Description = "What the recipe may take: average bits of a weight's code (3bits, 2.5bits), the artifact's bytes (200KB), "
                + "or the loss over float (loss=0.1), in what the task's losses are measured in: nats, squared error, 1 less the cosine.",
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
        { Description = "The recipe to write, .yaml, .yml or .json; it must not exist yet.", Required = true };
        output.Validators.Add(result =>
        {
            if (result.Tokens is [{ Value: var path }] && Path.GetExtension(path) is not (".yaml" or ".yml" or ".json"))
            {
                result.AddError($"--output is {path}, expected a name that ends in .yaml, .yml or .json.");
            }
        });
        var report = new Option<string?>("--report") { Description = "An HTML file for the front and the layers; named after the recipe when not given." };
        var tie = new Option<bool>("--tie") { Description = "Treat layers alike that engines fuse: q, k and v; gate and up." };
        var minutes = NumberOptions.Number(
            "--qat-minutes", value => value is > 0 and <= 1e5, "a number of minutes above 0",
            "Minutes of training that nibble qat may spend: finds which layers to train in them, around those that PTQ solves.");
        var rounds = NumberOptions.AtLeast(
            "--rounds", 0, $"Further recipes to measure at the budget, each learning from those before it, of which the best is taken; {usual.Rounds} when not "
            + $"given.");
        var points = NumberOptions.AtLeast("--points", 0, $"Recipes of the front to measure; {usual.FrontPoints} when not given.");
        var json = CommonOptions.Json();
        var command = new Command(
            "mix", "Choose the width and algorithm of each layer under a budget and write them as a recipe for ptq and qat; run it again to resume where it "
            + "was stopped.");
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
                    Rounds = parsed.GetValue(rounds) ?? usual.Rounds,
                    FrontPoints = parsed.GetValue(points) ?? usual.FrontPoints,
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
                    $"Made by nibble mix for {document.Budget}: {chosen.AverageBits:0.###} bits of code a weight on average, {chosen.Bytes} bytes,"),
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
        host.Output.WriteLine($"losses are over float, in {document.Unit().Mean}, on held-out data; bits are those of codes");
        if (document.Front.Count > 0)
        {
            host.Output.WriteLine($"{Numbers.Share(document.Coverage)} of the front's recipes are within their interval");
        }

        if (document.Methods is [var best, ..])
        {
            RenderMethods(host, document.Methods);
            host.Output.WriteLine(best.TriedSteps == 0
                ? "training gains nothing in these minutes: take the recipe to nibble ptq"
                : $"take the recipe to nibble qat, which trains {best.Layers} layers ({best.Trained}) for {best.Steps} steps");
        }

        foreach (var line in new RunSummary([], document.Kept, document.Warnings).Lines())
        {
            host.Output.WriteLine(line);
        }
    }

    private static void RenderMethods(CommandHost host, IReadOnlyList<MethodEntry> methods)
    {
        var table = new Table().Border(TableBorder.Simple).AddColumn("trained");
        foreach (var title in (string[])["layers", "steps", "seconds a step", "steps tried", "loss then", "std. error"])
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
