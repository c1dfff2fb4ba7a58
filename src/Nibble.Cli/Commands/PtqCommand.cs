using Nibble.Cli.Report.Documents;
using System.CommandLine;
using System.Diagnostics;
using System.Globalization;
using Nibble.Formats.HuggingFace;
using Nibble.Recipes;
using Nibble.Torch.Data;
using Nibble.Torch.Models;
using Nibble.Torch.Native;
using Nibble.Torch.Ptq;

namespace Nibble.Cli.Commands;

/// <summary><c>nibble ptq</c>: post-training quantization into an artifact.</summary>
internal static class PtqCommand
{
    private const int Mebibyte = 1 << 20;

    public static Command Create(CommandHost host)
    {
        var usual = new PtqSettings();
        var model = CommonOptions.Model();
        var recipe = CommonOptions.Recipe();
        var target = CommonOptions.Target();
        var task = new TaskOptions();
        var data = new Option<string?>("--data", "-d")
        {
            Description = "What to calibrate on, needed when the recipe looks at activations: a text, or the word self to let a decoder "
            + "write it; for an encoder, lines 'text TAB label', or texts in lines for an embedding model."
        };
        var output = CommonOptions.Output();
        var windows = NumberOptions.AtLeast(
            "--windows", 1, $"Windows of calibration text, or texts with as many tokens; the recipe's number ({usual.Windows} in presets) when not given.");
        var length = NumberOptions.AtLeast("--length", 2, $"Tokens in a window; the recipe's number ({usual.SequenceLength} in presets) when not given.");
        var memory = NumberOptions.AtLeast(
            "--activation-memory", 0,
            $"MiB of calibration activations to hold in memory; more are read from disk. {PtqOptions.DefaultActivationMemory / Mebibyte} when not given.");
        var restart = CommonOptions.Restart();
        var dryRun = new Option<bool>("--dry-run")
        { Description = "Write nothing: say how long the run would take, how much memory and disk, and how large the artifact would be." };
        var seed = CommonOptions.Seed();
        var threads = CommonOptions.Threads();
        var device = CommonOptions.Device();
        var json = CommonOptions.Json();
        var command = new Command("ptq", "Quantize a trained model without training it, one block at a time; run it again to resume where it was stopped.")
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
                CommonOptions.WarnWithoutEffect(host, parsed, $"the recipe {rules.Name} looks at no text", data, windows, length, memory);
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
                Data = parsed.GetValue(data) is { } path ? ReadData(host, parsed, task, source, path, rules.Ptq, parsed.GetValue(seed)) : null,
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
                Report(host, parsed.GetValue(json), options, estimate with { Seconds = before + estimate.Seconds });
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
                    "cancelled; the finished blocks are kept, and the same command resumes from there (--restart starts over)")]);
            }
        });
        return command;
    }

    /// <summary>Reads the calibration data, or lets the float model write them.</summary>
    private static ICalibrationData ReadData(CommandHost host, ParseResult parsed, TaskOptions task, string model, string path, PtqSettings settings, long seed)
    {
        using var loaded = task.Open(parsed, model);
        if (path != SelfText.Name)
        {
            return task.ReadData(host, parsed, path, loaded);
        }

        var length = Math.Min(settings.SequenceLength, loaded.Definition.MaxSequence);
        return host.WithProgress(progress => SelfText.Sample(loaded.Decoder, loaded.Tokenizer, settings.Windows, length, seed, progress, host.Cancellation));
    }

    private static void Report(CommandHost host, bool json, PtqRequest options, PtqEstimate estimate)
    {
        if (json)
        {
            host.WriteJson(
                new EstimateDocument(EstimateDocument.CurrentSchema, Checkpoint.NameOf(options.Model), options.Recipe.Name, estimate.Layers, estimate.Seconds,
                    estimate.PeakBytes, estimate.Bytes, estimate.DiskBytes)
                {
                    Kept = estimate.Summary.Kept,
                    Warnings = estimate.Summary.Warnings,
                },
                CliJson.Default.EstimateDocument);
            return;
        }

        host.Output.WriteLine(string.Create(
            CultureInfo.InvariantCulture,
            $"dry run of {options.Recipe.Name}: {estimate.Layers} layers, about {estimate.Seconds:F1} s, at most {estimate.PeakBytes >> 20:N0} MiB of memory, "
                + $"{estimate.DiskBytes:N0} bytes of disk meanwhile, {estimate.Bytes:N0} bytes in the end"));
        foreach (var line in estimate.Summary.Lines())
        {
            host.Output.WriteLine(line);
        }
    }
}
