using System.CommandLine;
using System.Diagnostics;
using Nibble.Formats.HuggingFace;
using Nibble.Recipes;
using Nibble.Torch.Data;
using Nibble.Torch.Models;
using Nibble.Torch.Native;
using Nibble.Torch.Ptq;

namespace Nibble.Cli.Commands;

/// <summary><c>nibble ptq</c>: writes an artifact by post-training quantization.</summary>
internal static class PtqCommand
{
    private const int Mebibyte = 1 << 20;

    public static Command Create(CommandHost host)
    {
        var defaults = new PtqSettings();
        var model = CommonOptions.Model();
        var recipe = CommonOptions.Recipe();
        var target = CommonOptions.Target();
        var task = new TaskOptions();
        var data = CommonOptions.Data(
            "Calibration data, required if the recipe calibrates: text, or the word self to have a decoder generate it; "
                + "for an encoder, lines 'text TAB label', or one text per line for an embedding model.",
            required: false);
        var output = CommonOptions.Output();
        var windows = NumberOptions.AtLeast(
            "--windows", 1, $"Windows of calibration text, or texts with as many tokens. Default: the recipe's number, {defaults.Windows} in presets.");
        var length = NumberOptions.AtLeast("--length", 2, $"Tokens per window. Default: the recipe's number, {defaults.SequenceLength} in presets.");
        var memory = NumberOptions.AtLeast(
            "--activation-memory", 0,
            $"MiB of calibration activations to keep in memory. The rest is kept on disk. Default: {PtqOptions.DefaultActivationMemory / Mebibyte}.");
        var restart = CommonOptions.Restart();
        var dryRun = new Option<bool>("--dry-run")
        { Description = "Write nothing. Estimate the run's time, memory and disk space, and the size of the artifact." };
        var seed = CommonOptions.Seed();
        var threads = CommonOptions.Threads();
        var device = CommonOptions.Device();
        var json = CommonOptions.Json();
        var command = new Command("ptq", "Quantize a model without training, one block at a time. Run the same command again to resume.")
        {
            model, recipe, target, data, output, windows, length, memory, restart, dryRun, seed, threads, device, json,
        };
        task.AddTo(command);
        CommonOptions.RequireRecipeOrTarget(command, recipe, target);
        command.SetAction(parsed =>
        {
            var started = Stopwatch.GetTimestamp();
            var folder = parsed.GetValue(output)!;
            OutputPlace.RequireNewOrUnfinished(folder);
            var given = parsed.GetValue(recipe) is { } named ? UsageException.Of(() => RecipeFile.Load(named)) : null;
            CommandHost.StartTorch(parsed.GetValue(threads));
            TorchRuntime.Device(parsed.GetValue(device)!);
            var source = parsed.GetValue(model)!;
            var rules = CommonOptions.RecipeFor(parsed.GetValue(target), given, source);
            if (!rules.NeedsCalibration)
            {
                CommonOptions.WarnWithoutEffect(host, parsed, $"the recipe {rules.Name} needs no calibration", data, windows, length, memory);
            }

            rules = rules with
            {
                Ptq = rules.Ptq with
                {
                    Windows = parsed.GetValue(windows) ?? rules.Ptq.Windows,
                    SequenceLength = parsed.GetValue(length) ?? rules.Ptq.SequenceLength,
                },
            };
            LoadedModel.RequireFloat(source);
            using (var checkpoint = FloatCheckpoint.Open(source, task.Read(parsed, source)))
            {
                CommonOptions.SequenceLength(
                    length.Name, parsed.GetValue(length), rules.Ptq.SequenceLength, checkpoint.Definition.MaxSequence, checkpoint.Name);
            }

            var options = new PtqRequest(source, rules, folder)
            {
                Data = parsed.GetValue(data) is { Length: > 0 } files ? ReadData(host, parsed, task, source, files, rules.Ptq, parsed.GetValue(seed)) : null,
                Task = task.Read(parsed, source),
                Seed = parsed.GetValue(seed),
                Device = parsed.GetValue(device)!,
                ActivationMemory = parsed.GetValue(memory) is { } limit ? (long)limit * Mebibyte : PtqOptions.DefaultActivationMemory,
                Restart = parsed.GetValue(restart),
                Target = parsed.GetValue(target),
                Logger = new WarningLogger(host.Warn),
            };
            if (parsed.GetValue(dryRun))
            {
                var before = Stopwatch.GetElapsedTime(started).TotalSeconds;
                var estimate = PostTrainingQuantizer.Estimate(options, host.Cancellation);
                QuantizeOutput.Report(
                    host, parsed.GetValue(json), Checkpoint.NameOf(options.Model), options.Recipe.Name, estimate with { Seconds = before + estimate.Seconds });
                return ExitCode.Done;
            }

            try
            {
                var result = host.WithProgress(progress => PostTrainingQuantizer.Run(options, progress, host.Cancellation));
                QuantizeOutput.Report(host, parsed.GetValue(json), result, rules.Name, "ptq", folder, started, loss: null);
                return ExitCode.Done;
            }
            catch (OperationCanceledException)
            {
                return host.Fail([Failure.Cancelled(
                    "cancelled; finished blocks are kept, and the same command resumes from there (--restart starts over)")]);
            }
        });
        return command;
    }

    /// <summary>Reads the calibration data, or generates it with the float model.</summary>
    private static ICalibrationData ReadData(
        CommandHost host, ParseResult parsed, TaskOptions task, string model, IReadOnlyList<string> files, PtqSettings settings, long seed)
    {
        var isSelf = CommonOptions.IsSelf(files);
        using var loaded = task.Open(parsed, model);
        if (!isSelf)
        {
            return task.ReadData(host, parsed, files, loaded);
        }

        var length = Math.Min(settings.SequenceLength, loaded.Definition.MaxSequence);
        return host.WithProgress(progress => SelfText.Sample(loaded.Decoder, loaded.Tokenizer, settings.Windows, length, seed, progress, host.Cancellation));
    }
}
