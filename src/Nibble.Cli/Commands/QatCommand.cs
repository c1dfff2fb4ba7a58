using System.CommandLine;
using System.Diagnostics;
using Nibble.Cli.Report;
using Nibble.Cli.Rendering;
using Nibble.Models;
using Nibble.Recipes;
using Nibble.Torch.Data;
using Nibble.Torch.Models;
using Nibble.Torch.Native;
using Nibble.Torch.Qat;

namespace Nibble.Cli.Commands;

/// <summary><c>nibble qat</c>: writes an artifact by quantization-aware training.</summary>
internal static class QatCommand
{
    public static Command Create(CommandHost host)
    {
        var model = CommonOptions.Model();
        var recipe = CommonOptions.Recipe();
        var target = CommonOptions.Target();
        var task = new TaskOptions();
        var data = CommonOptions.Data(
            "Training data: UTF-8 text with a line <|endoftext|> between documents, or the word self to have the float model "
                + "generate it; for an encoder, lines 'text TAB label', or one text per line for an embedding model.",
            required: true);
        var output = CommonOptions.Output();
        var steps = CommonOptions.Steps("the recipe's number");
        var rate = NumberOptions.Number(
            "--learning-rate", value => value is > 0 and <= float.MaxValue, "above 0, and at most 3.4e38",
            "Peak learning rate of the weights and of the parameters that stay float. Large models need a lower one. Default: the recipe's.");
        var batch = NumberOptions.AtLeast("--batch-size", 1, "Windows or texts per training step. Default: the recipe's number.");
        var length = NumberOptions.AtLeast("--length", 2, "Tokens per training window of text. Default: the recipe's number.");
        var accumulation = NumberOptions.AtLeast(
            "--accumulation", 1, "Parts in which a batch is computed, to save memory. A divisor of the batch size. Default: the recipe's number.");
        var clip = NumberOptions.Number(
            "--gradient-clip", value => value is >= 0 and <= float.MaxValue, "0 to 3.4e38", "Largest norm of the gradient. Default: the recipe's.");
        var dryRun = new Option<bool>("--dry-run")
        { Description = "Write nothing. Estimate the run's time, memory and disk space, and the size of the artifact." };
        var logs = new Option<string?>("--log-dir")
        { Description = "Folder for the training's curves: losses.csv, and events for TensorBoard." };
        var every = NumberOptions.AtLeast(
            "--checkpoint-every", 1, "Steps between checkpoints, from which an interrupted training resumes. Default: about one checkpoint per minute.");
        var restart = CommonOptions.Restart();
        var windows = NumberOptions.AtLeast(
            "--windows", 1, $"Windows to generate for --data self. Default: as many as the training uses, at most {QatOptions.DefaultWindows}"
            + $".");
        var report = new Option<string?>("--report") { Description = "HTML report with the loss curves." };
        var cache = new Option<string?>("--teacher-cache")
        {
            Description = "Folder that caches the float model's predictions for distillation, so that other runs on the same windows "
            + "reuse them."
        };
        var likeliest = NumberOptions.AtLeast(
            "--teacher-tokens", 1, $"Tokens to keep per prediction in --teacher-cache, most likely first. Default: {TeacherCacheOptions.DefaultLikeliest}"
            + $".");
        var device = CommonOptions.Device();
        var seed = CommonOptions.Seed();
        var threads = CommonOptions.Threads();
        var json = CommonOptions.Json();
        var command = new Command(
            "qat", "Train a model with simulated quantization, so that it adapts, and quantize it. Run the same command again to resume.")
        {
            model, recipe, target, data, output, windows, steps, rate, batch, length, accumulation, clip, report, logs, cache, likeliest, every, restart,
            dryRun, seed, threads, device, json,
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
                throw new NibbleException($"qat cannot train on {parsed.GetValue(device)} yet, because its quantizers run on the CPU; remove --device");
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
                SequenceLength = CommonOptions.SequenceLength(
                    length.Name, parsed.GetValue(length), rules.Qat.SequenceLength, loaded.Definition.MaxSequence, loaded.Name),
                BatchSize = parsed.GetValue(batch) ?? rules.Qat.BatchSize,
                Accumulation = parsed.GetValue(accumulation) ?? rules.Qat.Accumulation,
                GradientClip = parsed.GetValue(clip) ?? rules.Qat.GradientClip,
            };
            if (settings.BatchSize % settings.Accumulation != 0)
            {
                throw new UsageException(
                    $"{accumulation.Name} is {settings.Accumulation}, expected a divisor of the batch size {settings.BatchSize} ({batch.Name})");
            }

            if (loaded.Definition.Task != ModelTask.LanguageModelling)
            {
                CommonOptions.RefuseWithoutEffect(parsed, $"it is for windows of text; the texts of {loaded.Name} have lengths of their own", length);
            }

            var files = parsed.GetValue(data)!;
            var training = CommonOptions.IsSelf(files) ? null : task.ReadData(host, parsed, files, loaded);
            var options = new QatRequest(loaded, rules, settings, training, folder)
            {
                Seed = parsed.GetValue(seed),
                CheckpointEvery = parsed.GetValue(every),
                Restart = parsed.GetValue(restart),
                Target = parsed.GetValue(target),
                Logger = new WarningLogger(host.Warn),
                TeacherCache = parsed.GetValue(cache) is { } predictions
                    ? new TeacherCacheOptions(predictions, parsed.GetValue(likeliest) ?? TeacherCacheOptions.DefaultLikeliest) : null,
            };
            options = options with { Windows = parsed.GetValue(windows) ?? options.Windows };
            if (parsed.GetValue(dryRun))
            {
                if (training is null)
                {
                    throw new UsageException($"{dryRun.Name} needs data, and with --data {SelfText.Name} the model would have to write them first");
                }

                var before = Stopwatch.GetElapsedTime(started).TotalSeconds;
                var estimate = QatRun.Estimate(options, host.Cancellation);
                QuantizeOutput.Report(host, parsed.GetValue(json), loaded.Name, rules.Name, estimate with { Seconds = before + estimate.Seconds });
                return ExitCode.Done;
            }

            using var curves = parsed.GetValue(logs) is { } place ? new TrainingLog(place) : null;
            try
            {
                var result = host.WithProgress(
                    progress => QatRun.Run(options, curves is null ? progress : new TrainingLog.Progress(progress, curves), host.Cancellation));
                var method = rules.IsHybrid ? "hybrid" : "qat";
                CommandHost.Deliver(
                    () => WriteReport(host, parsed.GetValue(report), rules with { Qat = settings }, training?.Name ?? result.Artifact.Calibration!, result),
                    () => QuantizeOutput.Report(host, parsed.GetValue(json), result.Artifact, rules.Name, method, folder, started, result.FinalLoss));
                return ExitCode.Done;
            }
            catch (OperationCanceledException)
            {
                return host.Fail([Failure.Cancelled(
                    "cancelled; finished steps are kept, and the same command resumes from there (--restart starts over)")]);
            }
        });
        return command;
    }

    /// <summary>Refuses options that have no effect next to the others, and warns about those that have none with this recipe.</summary>
    private static void RequireEffect(
        CommandHost host, ParseResult parsed, Recipe recipe, Option<string[]> data, Option<int?> windows, Option<string?> cache, Option<int?> likeliest)
    {
        if (!CommonOptions.IsSelf(parsed.GetValue(data)!))
        {
            CommonOptions.RefuseWithoutEffect(parsed, "it is for --data self; given data are used in full", windows);
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
            host.Warn("no report is written: the previous run finished the training, and its losses were not kept");
        }
        else if (path is not null)
        {
            HtmlPage.Write(path, TrainingReport.Render(recipe, text, result));
        }
    }
}
