using Nibble.Cli.Report.Documents;
using Nibble.Export;
using System.CommandLine;
using System.Globalization;
using Nibble.Cli.Report;
using Nibble.Models;
using Nibble.Planning;
using Nibble.Torch.Data;
using Nibble.Torch.Models;
using Nibble.Torch.Planning;

namespace Nibble.Cli.Commands;

/// <summary><c>nibble advise</c>: recommends a method for a model, from a time-limited probe.</summary>
internal static class AdviseCommand
{
    private const string ReportName = "report.html";
    public const string DocumentName = "advise.json";
    private const double ProbeMinutes = 2;

    /// <summary>Share of the training data that is held out for scoring when there is no evaluation data.</summary>
    private const double HeldOutShare = 0.1;

    private static readonly int[] DefaultWidths = [8, 4, 3, 2];

    public static Command Create(CommandHost host)
    {
        var options = new AdviseOptions();
        var command = new Command("advise", "Recommend PTQ or QAT for a model, with the bit width and the expected cost. Runs a time-limited probe.");
        options.AddTo(command);
        command.SetAction(parsed => parsed.GetValue(options.CostOf) is { Length: > 0 } ? ShowCosts(host, options, parsed) : Advise(host, options, parsed));
        return command;
    }

    private static int ShowCosts(CommandHost host, AdviseOptions options, ParseResult parsed)
    {
        var table = CostTable.Of(options.Hardware(parsed), options.Shapes(parsed), options.Widths(parsed) ?? [4], options.TrainingSteps(parsed));
        if (parsed.GetValue(options.Json))
        {
            host.WriteJson(CostDocument.Of(table), CliJson.Default.CostDocument);
        }
        else
        {
            table.Write(host.Console);
        }

        return ExitCode.Done;
    }

    private static int Advise(CommandHost host, AdviseOptions options, ParseResult parsed)
    {
        var folder = parsed.GetValue(options.Output);
        if (folder is not null)
        {
            OutputPlace.RequireNewFolder(folder);
        }

        CommandHost.StartTorch(parsed.GetValue(options.Threads));
        using var model = options.Task.Open(parsed, parsed.GetValue(options.Model)!);
        var context = options.Task.WindowLength(parsed, options.Context, model);
        var (data, heldOut) = Read(host, options, parsed, model);
        var asked = Ask(options, parsed, model, data, heldOut, context);
        var constraints = asked.Constraints;
        var request = new AdviceRequest(
            model.Name,
            model.Bytes,
            data is null ? "no data" : $"{data.Name} ({Numbers.Count(data.Count)} {(data is TokenizedText ? "tokens" : "lines")})",
            $"{heldOut.Name}{(CommonOptions.IsGiven(parsed, options.EvalData) ? "" : ", its last tenth")}",
            constraints,
            asked.ProbeSeconds,
            CommonOptions.CommandLine(parsed.Tokens.Select(token => token.Value)));
        host.Warn($"data and limits: {AdviceText.MayUse(request)}; scored on {request.HeldOut}; probe of at most {Numbers.Duration(request.ProbeSeconds)}");
        var result = host.WithProgress(progress => Advisor.Run(asked, progress, host.Cancellation));
        var document = AdviceDocument.Of(result, request);
        CommandHost.Deliver(
            () => AdviceReport.WriteFolder(folder, document, ReportName, DocumentName),
            () => Print(host, parsed.GetValue(options.Json), document));
        if (folder is not null && !parsed.GetValue(options.Json))
        {
            host.Output.WriteLine($"report: {Path.GetFullPath(Path.Combine(folder, ReportName))}");
        }

        return result.Decision.Recommended is null ? ExitCode.NoSolution : ExitCode.Done;
    }

    private static AdvisorOptions Ask(AdviseOptions options, ParseResult parsed, LoadedModel model, ITaskData? data, ITaskData heldOut, int? context)
    {
        var engine = TargetEngines.ByName[parsed.GetValue(options.Engine)!];
        if (engine == Engine.LlamaCpp)
        {
            GgufSupport.Require(model.Folder);
        }

        var isEncoder = model.Definition.Task != ModelTask.LanguageModelling;
        var steps = parsed.GetValue(options.Steps);
        var candidates = (options.Widths(parsed) ?? DefaultWidths)
            .SelectMany(bits => Candidate.For(bits, parsed.GetValue(options.Activations), parsed.GetValue(options.GroupSize), engine, isEncoder))
            .Concat((parsed.GetValue(options.Recipes) ?? []).Select(name => UsageException.Of(() => Candidate.Load(name))))
            .Select(candidate => candidate with
            {
                Recipe = candidate.Recipe with
                {
                    Qat = candidate.Recipe.Qat with
                    {
                        Steps = steps
                ?? candidate.Recipe.Qat.Steps
                    }
                }
            })
            .ToList();
        var unit = LossUnit.Of(model.Definition.Task);
        var loss = options.Limit(parsed, unit);
        var defaults = new AdvisorOptions(model, data, heldOut, candidates);
        return defaults with
        {
            Constraints = new Constraints
            {
                Seconds = 60 * parsed.GetValue(options.Minutes),
                MemoryBytes = parsed.GetValue(options.Memory) is { } megabytes ? (long)(megabytes * 1e6) : null,
                Loss = loss,
                Unit = unit,
                CalibrationTokens = data is null ? 0 : parsed.GetValue(options.CalibrationTokens),
                MayTrain = data is not null && !parsed.GetValue(options.NoTrainingData),
                Engine = engine,
            },
            Tolerance = loss,
            ProbeSeconds = 60 * (parsed.GetValue(options.ProbeMinutes) ?? ProbeMinutes),
            Context = context ?? defaults.Context,
            Windows = parsed.GetValue(options.Windows) ?? defaults.Windows,
            Seed = parsed.GetValue(options.Seed),
            Command = (candidate, trained) => CommandOf(candidate, trained, options, parsed, model),
        };
    }

    /// <summary>The command that produces an option.</summary>
    private static string CommandOf(Candidate candidate, int steps, AdviseOptions options, ParseResult parsed, LoadedModel model)
    {
        List<string> words =
        [
            candidate.Trains ? "qat" : "ptq", parsed.GetValue(options.Model)!, .. options.Task.Words(parsed, candidate.NeedsData), "--recipe", candidate.Source,
        ];
        if (candidate.NeedsData)
        {
            // A decoder can generate text itself. For an encoder without data, this option is ruled out.
            string[] files = parsed.GetValue(options.Data) is { Length: > 0 } given ? given
                : [model.Definition.Task == ModelTask.LanguageModelling ? SelfText.Name : "FILE"];
            words.AddRange(files.SelectMany(file => (string[])[options.Data.Name, file]));
        }

        if (candidate is { Trains: false, NeedsData: true } && parsed.GetValue(options.CalibrationTokens) is not null)
        {
            words.AddRange(["--windows", Invariant(candidate.Recipe.Ptq.Windows), "--length", Invariant(candidate.Recipe.Ptq.SequenceLength)]);
        }

        if (candidate.Trains)
        {
            words.AddRange(["--steps", Invariant(steps)]);
        }

        var method = candidate.Trains ? "-" + candidate.Method.Word() : string.Empty;
        return CommonOptions.CommandLine([.. words, "--output", $"{model.Name}-{candidate.Recipe.Name}{method}"]);
    }

    private static string Invariant(int number) => number.ToString(CultureInfo.InvariantCulture);

    /// <summary>The training data and the held-out data. By default, the held-out data is the end of the training data.</summary>
    private static (ITaskData? Data, ITaskData HeldOut) Read(CommandHost host, AdviseOptions options, ParseResult parsed, LoadedModel model)
    {
        var data = parsed.GetValue(options.Data) is { Length: > 0 } files ? options.Task.ReadData(host, parsed, files, model) : null;
        if (parsed.GetValue(options.EvalData) is { Length: > 0 } scored)
        {
            return (data, options.Task.ReadData(host, parsed, scored, model));
        }

        // Tokens of text, or lines.
        var all = data!.CountPieces(1);
        return all > 1 ? data.Cut(all - (int)(all * (1 - HeldOutShare)), 1)
            : throw new NibbleException($"{data.Name} has one line, expected at least two; give more data or pass {options.EvalData.Name}");
    }

    private static void Print(CommandHost host, bool json, AdviceDocument document)
    {
        if (json)
        {
            host.WriteJson(document, CliJson.Default.AdviceDocument);
        }
        else
        {
            Write(host, document);
        }
    }

    private static void Write(CommandHost host, AdviceDocument document)
    {
        AdviceTable.Write(document, host.Console);
        host.Output.WriteLine();
        host.Output.WriteLine(document.Headline);
        foreach (var sentence in document.Text)
        {
            host.Output.WriteLine(sentence);
        }

        if (document.Recommendation is { } option)
        {
            host.WriteUnbroken(option.Command);
        }
    }
}
