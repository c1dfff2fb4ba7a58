using System.CommandLine;
using Nibble.Cli.Comparison;
using Nibble.Cli.Report;
using Nibble.Formats;
using Nibble.Recipes;

namespace Nibble.Cli.Commands;

/// <summary><c>nibble compare</c>: quantizes one model down both roads and shows which way wins.</summary>
internal static class CompareCommand
{
    private const string ReportName = "report.html";
    private const string DocumentName = "compare.json";
    private const string TableName = "table.md";
    private const int DefaultWindows = 40;
    private static readonly int[] DefaultWidths = [8, 4, 2];
    private const string DefaultAlgorithms = "gptaq";
    private const string DefaultPrompt = "Once upon a time, there was a";

    /// <summary>Enough for the built-in model to adapt to 2 bits within the minutes a newcomer waits.</summary>
    private static readonly QatSettings BuiltInQat = new() { Steps = 120, BatchSize = 8, SequenceLength = 128, LearningRate = 2e-4 };

    public static Command Create(CommandHost host)
    {
        var model = new Argument<string?>("MODEL") { Description = "A Hugging Face folder; the small built-in model when not given.", Arity = ArgumentArity.ZeroOrOne };
        var data = new Option<string?>("--data", "-d") { Description = "Text to calibrate and train on; required with MODEL." };
        var evalData = new Option<string?>("--eval-data", "-e") { Description = "Held-out text to score on; required with MODEL." };
        var bits = CommonOptions.Widths("--bits", "Widths to compare, 2 to 8, with commas between them; 8,4,2 when not given.", "8,4,2", "-b");
        var group = CommonOptions.GroupSize();
        var activations = CommonOptions.Activations();
        var algorithms = new Option<string>("--algorithms") { Description = "What PTQ does, as at the end of a preset's name: rtn, gptq, awq-gptaq and so on.", DefaultValueFactory = _ => DefaultAlgorithms };
        var hybrids = new Option<string[]>("--hybrids")
        {
            Description = "Recipes that name both methods, presets or files with commas between them, to compare with PTQ and QAT.",
            CustomParser = result => [.. result.Tokens.SelectMany(token => token.Value.Split(','))],
        };
        var steps = CommonOptions.Steps($"{BuiltInQat.Steps} for the built-in model and {new QatSettings().Steps} for others");
        var context = CommonOptions.Context();
        var windows = NumberOptions.AtLeast("--windows", 1, $"Evaluation windows at most; {DefaultWindows} when not given.");
        var prompt = new Option<string>("--prompt", "-p") { Description = "What every variant is asked to continue.", DefaultValueFactory = _ => DefaultPrompt };
        var output = new Option<string?>("--output", "-o") { Description = $"A new folder for {ReportName}, {DocumentName}, {TableName} and every artifact; without it, only {ReportName} is written, here." };
        var seed = CommonOptions.Seed();
        var threads = CommonOptions.Threads();
        var json = CommonOptions.Json();
        var command = new Command("compare", "Quantize a model by PTQ and by QAT at several widths, measure both, and say which road it needs.")
        {
            model, data, evalData, bits, group, activations, algorithms, hybrids, steps, context, windows, prompt, output, seed, threads, json,
        };
        command.Validators.Add(result =>
        {
            var given = result.GetValue(model) is not null;
            if (given && (result.GetValue(data) is null || result.GetValue(evalData) is null))
            {
                result.AddError("compare MODEL needs two texts: --data to calibrate and train on, --eval-data to score on.");
            }
        });
        command.SetAction(parsed =>
        {
            var folder = parsed.GetValue(output);
            if (folder is not null)
            {
                OutputPlace.RequireNewFolder(folder);
            }
            else
            {
                OutputPlace.RequireReport(ReportName);
            }

            var builtIn = parsed.GetValue(model) is null;
            var settings = builtIn ? BuiltInQat : new QatSettings();
            var recipes = (parsed.GetValue(bits) is { Length: > 0 } asked ? asked : DefaultWidths).Select(width => RecipePresets.Parse($"w{width}a{parsed.GetValue(activations)}-g{parsed.GetValue(group) ?? 32}")).ToList();
            if (builtIn)
            {
                recipes = recipes.ConvertAll(recipe => recipe with { Qat = BuiltInQat });
            }

            var ptqRecipes = recipes.ConvertAll(recipe => UsageException.Of(() => RecipePresets.Parse($"{recipe.Name}-{parsed.GetValue(algorithms)}")));
            var mixed = (parsed.GetValue(hybrids) ?? []).Select(LoadHybrid).Select(recipe => recipe with { Qat = recipe.Qat with { Steps = parsed.GetValue(steps) ?? recipe.Qat.Steps } }).ToList();
            if (mixed.GroupBy(recipe => recipe.Name).FirstOrDefault(group => group.Count() > 1) is { } twice)
            {
                throw new UsageException($"--hybrids: two recipes have the name {twice.Key}; give each file a name of its own (name: ...)");
            }

            CommandHost.StartTorch(parsed.GetValue(threads));

            // All is made beside its final place and moved there whole.
            var work = folder is null ? host.CreateTemporaryFolder("nibble-").FullName : AtomicFile.TemporaryName(folder);
            var kept = false;
            try
            {
                var options = new ComparisonOptions(
                    parsed.GetValue(model) ?? BuiltInModel.Folder,
                    parsed.GetValue(data) ?? BuiltInModel.TrainingText,
                    parsed.GetValue(evalData) ?? BuiltInModel.EvaluationText,
                    recipes,
                    ptqRecipes,
                    mixed,
                    settings with { Steps = parsed.GetValue(steps) ?? settings.Steps },
                    parsed.GetValue(context),
                    parsed.GetValue(windows) ?? DefaultWindows,
                    parsed.GetValue(prompt)!,
                    parsed.GetValue(seed),
                    work,
                    CommonOptions.CommandLine(parsed.Tokens.Select(token => token.Value)));
                var result = host.WithProgress(progress =>
                {
                    using var runner = new ComparisonRunner(options, progress, host.Cancellation);
                    Directory.CreateDirectory(work);
                    return runner.Run();
                });
                kept = folder is not null;
                Publish(host, result, folder, work, parsed.GetValue(json));
                kept = false;
            }
            finally
            {
                if (!kept && Directory.Exists(work))
                {
                    Directory.Delete(work, recursive: true);
                }
            }

            return ExitCode.Done;
        });
        return command;
    }

    private static void Publish(CommandHost host, ComparisonResult result, string? folder, string work, bool json)
    {
        var document = ComparisonJson.Serialize(result);
        CommandHost.Deliver(
            () =>
            {
                if (folder is null)
                {
                    HtmlReport.Write(result, ReportName);
                }
                else
                {
                    Publish(result, document, work, folder);
                }
            },
            () => Print(host, json, result, document));
        if (!json)
        {
            host.Output.WriteLine($"report: {Path.GetFullPath(Path.Combine(folder ?? string.Empty, ReportName))}");
        }
    }

    private static void Publish(ComparisonResult result, string document, string work, string folder)
    {
        try
        {
            HtmlReport.Write(result, Path.Combine(work, ReportName));
            File.WriteAllText(Path.Combine(work, DocumentName), document + "\n");
            File.WriteAllText(Path.Combine(work, TableName), ComparisonTable.ToMarkdown(result));
            Directory.Move(work, folder);
        }
        catch (Exception exception) when (exception is NibbleException or IOException or UnauthorizedAccessException)
        {
            throw new NibbleException($"{exception.Message.TrimEnd('.')}; the artifacts are kept in {work}", exception);
        }
    }

    private static void Print(CommandHost host, bool json, ComparisonResult result, string document)
    {
        if (json)
        {
            host.WriteUnbroken(document);
            return;
        }

        ComparisonTable.Write(result, host.Console);
        foreach (var (heading, runs, text) in result.Summaries)
        {
            host.Output.WriteLine($"{heading,-11} {runs}: {text}");
        }

        host.Output.WriteLine();
        host.Output.WriteLine(Advice.For(result).Headline);
    }

    private static Recipe LoadHybrid(string nameOrPath) => UsageException.Of(() => RecipeFile.Load(nameOrPath)) is { IsHybrid: true } recipe
        ? recipe
        : throw new UsageException($"--hybrids: the recipe {nameOrPath} leaves nothing to the method ptq, so it is no hybrid; expected a preset such as hybrid-attention-qat or a file whose rules name methods");
}
