using System.CommandLine;
using System.Diagnostics;
using Nibble.Cli.Report;
using Nibble.Recipes;
using Nibble.Torch.Data;
using Nibble.Torch.Models;
using Nibble.Torch.Native;
using Nibble.Torch.Qat;

namespace Nibble.Cli.Commands;

/// <summary><c>nibble qat</c>: quantization-aware training into an artifact.</summary>
internal static class QatCommand
{
    public static Command Create(CommandHost host)
    {
        var model = CommonOptions.Model();
        var recipe = CommonOptions.Recipe();
        var target = CommonOptions.Target();
        var task = new TaskOptions();
        var data = new Option<string>("--data", "-d")
        {
            Description = "What to train on: a text, UTF-8, a line <|endoftext|> between two documents, or the word self to let the float "
            + "model write it; for an encoder, lines 'text TAB label', or texts in lines for an embedding model.",
            Required = true
        };
        var output = CommonOptions.Output();
        var steps = CommonOptions.Steps("the recipe's number");
        var rate = NumberOptions.Number(
            "--learning-rate", value => value is > 0 and <= float.MaxValue, "above 0, and at most 3.4e38",
            "Peak learning rate of the weights and of what stays float; the recipe's when not given. Large models want less.");
        var every = NumberOptions.AtLeast(
            "--checkpoint-every", 1, "Steps after which the training saves itself, to resume from when it is interrupted; about every minute when not given.");
        var restart = CommonOptions.Restart();
        var windows = NumberOptions.AtLeast(
            "--windows", 1, $"Windows that the model writes for --data self; one for each that training looks at, up to {QatOptions.UsualWindows}, when not "
            + $"given.");
        var report = new Option<string?>("--report") { Description = "An HTML file to write the curves of the losses to." };
        var cache = new Option<string?>("--teacher-cache")
        {
            Description = "A folder that keeps the predictions of the float model that distillation learns from, for other runs on the "
            + "same windows."
        };
        var likeliest = NumberOptions.AtLeast(
            "--teacher-tokens", 1, $"Tokens to keep of each prediction in --teacher-cache, the likeliest; {TeacherCacheOptions.UsualLikeliest} when not "
            + $"given.");
        var device = CommonOptions.Device();
        var seed = CommonOptions.Seed();
        var threads = CommonOptions.Threads();
        var json = CommonOptions.Json();
        var command = new Command(
            "qat", "Train a model through its quantizers, so that it adapts to them, and quantize it; run it again to resume where it was stopped.")
        {
            model, recipe, target, data, output, windows, steps, rate, report, cache, likeliest, every, restart, seed, threads, device, json,
        };
        task.AddTo(command);
        CommonOptions.RequireRecipeOrTarget(command, recipe, target);
        command.SetAction(parsed =>
        {
            var started = Stopwatch.GetTimestamp();
            var folder = parsed.GetValue(output)!;
            OutputPlace.RequireNewOrUnfinished(folder);
            OutputPlace.RequireReport(parsed.GetValue(report), folder);
            OutputPlace.RequireCache(parsed.GetValue(cache), cache.Name);
            var given = parsed.GetValue(recipe) is { } named ? UsageException.Of(() => RecipeFile.Load(named)) : null;
            CommandHost.StartTorch(parsed.GetValue(threads));
            if (TorchRuntime.Device(parsed.GetValue(device)!).type != TorchSharp.DeviceType.CPU)
            {
                throw new NibbleException($"qat cannot train on {parsed.GetValue(device)} yet: its quantizers are on the CPU; leave --device away");
            }

            var source = parsed.GetValue(model)!;
            var rules = CommonOptions.RecipeFor(parsed.GetValue(target), given, source);
            RequireEffect(host, parsed, rules, data, windows, cache, likeliest);
            using var loaded = LoadedModel.OpenToTrain(source, rules, task.Read(parsed, source));
            var settings = rules.Qat with
            {
                Steps = parsed.GetValue(steps) ?? rules.Qat.Steps,
                LearningRate = parsed.GetValue(rate) ?? rules.Qat.LearningRate,
                FloatLearningRate = rules.Qat.FloatLearningRate is null ? null : parsed.GetValue(rate) ?? rules.Qat.FloatLearningRate,
                SequenceLength = Math.Min(rules.Qat.SequenceLength, loaded.Definition.MaxSequence),
            };
            var path = parsed.GetValue(data)!;
            var training = path == SelfText.Name ? null : task.ReadData(host, parsed, path, loaded);
            var options = new QatRequest(loaded, rules, settings, training, folder)
            {
                Seed = parsed.GetValue(seed),
                CheckpointEvery = parsed.GetValue(every),
                Restart = parsed.GetValue(restart),
                Target = parsed.GetValue(target),
                Logger = new WarningLogger(host.Warn),
                TeacherCache = parsed.GetValue(cache) is { } predictions
                    ? new TeacherCacheOptions(predictions, parsed.GetValue(likeliest) ?? TeacherCacheOptions.UsualLikeliest) : null,
            };
            options = options with { Windows = parsed.GetValue(windows) ?? options.Windows };
            try
            {
                var result = host.WithProgress(progress => QatRun.Run(options, progress, host.Cancellation));
                var method = rules.IsHybrid ? "hybrid" : "qat";
                CommandHost.Deliver(
                    () => WriteReport(host, parsed.GetValue(report), rules with { Qat = settings }, training?.Name ?? result.Artifact.Calibration!, result),
                    () => QuantizeOutput.Report(host, parsed.GetValue(json), result.Artifact, rules.Name, method, folder, started, result.FinalLoss));
                return ExitCode.Done;
            }
            catch (OperationCanceledException)
            {
                return host.Fail([Failure.Cancelled(
                    "cancelled; the steps that are done are kept, and the same command resumes from there (--restart starts over)")]);
            }
        });
        return command;
    }

    /// <summary>Refuses options that have no effect beside the others, and names those that have none with this recipe.</summary>
    private static void RequireEffect(
        CommandHost host, ParseResult parsed, Recipe recipe, Option<string> data, Option<int?> windows, Option<string?> cache, Option<int?> likeliest)
    {
        if (parsed.GetValue(data) != SelfText.Name)
        {
            CommonOptions.RefuseWithoutEffect(parsed, "it is for --data self; a text is trained on as a whole", windows);
        }

        if (recipe.Qat.Distillation is null)
        {
            CommonOptions.WarnWithoutEffect(host, parsed, $"the recipe {recipe.Name} has no distillation, and so no teacher", cache, likeliest);
        }

        if (parsed.GetValue(cache) is null)
        {
            CommonOptions.RefuseWithoutEffect(parsed, "it is for --teacher-cache, which is not given", likeliest);
        }
    }

    private static void WriteReport(CommandHost host, string? path, Recipe recipe, string text, QatResult result)
    {
        if (path is not null && result.Losses.Count == 0)
        {
            host.Warn("there is no report: the run before had finished the training, and its losses are gone");
        }
        else if (path is not null)
        {
            HtmlPage.Write(path, TrainingReport.Render(recipe, text, result));
        }
    }
}
