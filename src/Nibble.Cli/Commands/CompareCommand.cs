using Nibble.Files;
using System.CommandLine;
using Nibble.Cli.Comparison;
using Nibble.Cli.Report;
using Nibble.Recipes;
using Nibble.Torch;
using Nibble.Torch.Models;
using Nibble.Torch.Ptq;

namespace Nibble.Cli.Commands;

/// <summary><c>nibble compare</c>: quantizes one model with both methods and shows which is better.</summary>
internal static class CompareCommand
{
    private const string ReportName = "report.html";
    private const string EstimateName = "estimate";
    public const string DocumentName = "compare.json";
    private const string TableName = "table.md";

    public static Command Create(CommandHost host)
    {
        var arguments = new CompareArguments();
        var output = new Option<string?>("--output", "-o")
        {
            Description = $"New folder for {ReportName}, {DocumentName}, {TableName} and all artifacts. Default: only {ReportName}, in the current folder.",
        };
        var restart = CommonOptions.Restart();
        var threads = CommonOptions.Threads();
        var json = CommonOptions.Json();
        var command = new Command(
            "compare", "Quantize a model with PTQ and with QAT at several bit widths, measure the results, and recommend a method. Run the same command "
                + "again to resume.");
        arguments.AddTo(command);
        foreach (var option in (Option[])[output, restart, threads, json])
        {
            command.Add(option);
        }

        command.SetAction(parsed =>
        {
            var folder = parsed.GetValue(output);
            if (folder is not null)
            {
                OutputPlace.RequireNewOrUnfinished(folder);
            }
            else
            {
                OutputPlace.RequireReport(ReportName);
                PostTrainingQuantizer.RequireJobPlace(ReportName);
            }

            var hybrids = arguments.ReadHybrids(parsed);
            CommandHost.StartTorch(parsed.GetValue(threads));
            var (options, identity) = Read(host, arguments, parsed, hybrids);
            using var job = new ComparisonJob(folder ?? ReportName, identity, parsed.GetValue(restart));
            try
            {
                Run(host, options, job, () => arguments.Open(parsed, host, quiet: true).Model, folder, parsed.GetValue(json));
                return ExitCode.Done;
            }
            catch (OperationCanceledException)
            {
                return host.Fail([Failure.Cancelled("cancelled; finished work is kept, and the same command resumes from there (--restart starts over)")]);
            }
        });
        return command;
    }

    /// <summary>Reads what to compare. The model that reads the data is closed again, so that it does not count in the memory of each method.</summary>
    private static (ComparisonOptions Options, Dictionary<string, string> Identity) Read(
        CommandHost host, CompareArguments arguments, ParseResult parsed, IReadOnlyList<Recipe> hybrids)
    {
        var (opened, isDrawn) = arguments.Open(parsed, host);
        using var loaded = opened;
        var options = arguments.Read(host, parsed, loaded, isDrawn, hybrids);
        return (options, Identity(options, loaded));
    }

    private static void Run(CommandHost host, ComparisonOptions options, ComparisonJob job, Func<LoadedModel> open, string? folder, bool json)
    {
        ComparisonResult result;
        try
        {
            result = host.WithProgress(progress =>
            {
                var estimate = job.Find(EstimateName, RecordJson.Default.ComparisonEstimate);
                if (estimate is null && !job.HasRecords)
                {
                    estimate = ComparisonEstimate.Measure(open, options, host.Cancellation);
                    job.Keep(EstimateName, estimate, RecordJson.Default.ComparisonEstimate);
                    host.Warn($"{estimate}; if interrupted, the same command resumes");
                }

                using var runner = new ComparisonRunner(options, job, open, estimate, progress, host.Cancellation);
                var made = runner.Run();
                runner.DropControl();
                return made;
            });
        }
        catch (NibbleException exception) when (exception is not DamagedFileException)
        {
            // The model, the data or the recipes are at fault: the same command would fail again, and a different one is a different comparison.
            job.Abandon();
            throw;
        }

        var document = ComparisonJson.Serialize(result);
        CommandHost.Deliver(() => Publish(job, result, document, folder), () => Print(host, json, result, document));
        if (!json)
        {
            if (options.PtqRecipes.All(recipe => !recipe.NeedsCalibration))
            {
                host.Output.WriteLine("note: PTQ rounds to nearest here, which is its plainest form. --algorithms rtn,gptaq adds the strongest.");
            }

            host.Output.WriteLine($"report: {Path.GetFullPath(Path.Combine(folder ?? string.Empty, ReportName))}");
        }
    }

    private static void Publish(ComparisonJob job, ComparisonResult result, string document, string? folder)
    {
        if (folder is null)
        {
            HtmlReport.Write(result, ReportName);
            job.Abandon();
            return;
        }

        try
        {
            job.Publish(folder, work =>
            {
                HtmlReport.Write(result, Path.Combine(work, ReportName));
                File.WriteAllText(Path.Combine(work, DocumentName), document + "\n");
                File.WriteAllText(Path.Combine(work, TableName), ComparisonTable.ToMarkdown(result));
            });
        }
        catch (Exception exception) when (exception is NibbleException or IOException or UnauthorizedAccessException)
        {
            throw new NibbleException($"{exception.Message.TrimEnd('.')}; the artifacts are kept in {job.At(OutputJob.ArtifactName)}", exception);
        }
    }

    /// <summary>Everything that the result depends on.</summary>
    private static Dictionary<string, string> Identity(ComparisonOptions options, LoadedModel source)
    {
        var recipes = options.PtqRecipes.Concat(options.Recipes).Concat(options.Hybrids).Select(RecipeFile.ToJson);
        var settings = new[] { options.Qat, options.FineTuning }.OfType<QatSettings>()
            .Select(item => RecipeFile.ToJson(new Recipe("training", []) { Qat = item }));
        var identity = new Dictionary<string, string>(JobIdentity.ValuesOf(
            "compare", source.ConfigJson, ("recipes", string.Join('\n', recipes)), source.Hashes, options.Training.Hash, options.Seed))
        {
            ["training settings"] = string.Join('\n', settings),
            ["prompt"] = options.Prompt ?? string.Empty,
        };
        foreach (var (name, value) in options.Measure.Identity)
        {
            identity.Add(name, value);
        }

        return identity;
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
        var advice = Advice.For(result);
        if (advice.Answers.Count == 0)
        {
            host.Output.WriteLine(advice.Headline);
        }

        foreach (var (question, text) in advice.Answers)
        {
            host.Output.WriteLine($"{question,-18} {text}");
        }
    }
}
