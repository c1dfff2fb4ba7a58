using System.CommandLine;
using System.Diagnostics;
using Nibble.Recipes;
using Nibble.Torch.Data;
using Nibble.Torch.Models;
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
        var data = new Option<string?>("--data", "-d") { Description = "Calibration text, or the word self to let the model write it; needed when the recipe looks at activations." };
        var output = CommonOptions.Output();
        var windows = CommonOptions.AtLeast("--windows", 1, $"Windows of calibration text; the recipe's number ({usual.Windows} in presets) when not given.");
        var length = CommonOptions.AtLeast("--length", 2, $"Tokens in a window; the recipe's number ({usual.SequenceLength} in presets) when not given.");
        var memory = CommonOptions.AtLeast("--activation-memory", 0, $"MiB of calibration activations to hold in memory; more are read from disk. {new PtqOptions(string.Empty, RecipePresets.Parse("w8a8"), string.Empty).ActivationMemory / Mebibyte} when not given.");
        var restart = new Option<bool>("--restart") { Description = "Throw away what an interrupted run has left, instead of going on with it." };
        var seed = CommonOptions.Seed();
        var threads = CommonOptions.Threads();
        var device = CommonOptions.Device();
        var json = CommonOptions.Json();
        var command = new Command("ptq", "Quantize a trained model without training it, one block at a time; run it again to go on where it was stopped.")
        {
            model, recipe, data, output, windows, length, memory, restart, seed, threads, device, json,
        };
        command.SetAction(parsed =>
        {
            var started = Stopwatch.GetTimestamp();
            var folder = parsed.GetValue(output)!;
            QuantizeOutput.RequireAbsentOrUnfinished(folder);
            var rules = RecipeFile.Load(parsed.GetValue(recipe)!);
            rules = rules with
            {
                Ptq = rules.Ptq with
                {
                    Windows = parsed.GetValue(windows) ?? rules.Ptq.Windows,
                    SequenceLength = parsed.GetValue(length) ?? rules.Ptq.SequenceLength,
                },
            };
            CommandHost.StartTorch(parsed.GetValue(threads));
            var source = parsed.GetValue(model)!;
            LoadedModel.RequireFloat(source);
            var options = new PtqOptions(source, rules, folder)
            {
                Text = parsed.GetValue(data) is { } path ? ReadText(source, path) : null,
                Seed = parsed.GetValue(seed),
                Device = parsed.GetValue(device)!,
                ActivationMemory = parsed.GetValue(memory) is { } limit ? (long)limit * Mebibyte : new PtqOptions(source, rules, folder).ActivationMemory,
                Restart = parsed.GetValue(restart),
                Warn = host.Warn,
            };
            try
            {
                var result = host.WithProgress(progress => PostTrainingQuantizer.Run(options, progress, host.Cancellation));
                QuantizeOutput.Report(host, parsed.GetValue(json), result, rules.Name, "ptq", folder, started, loss: null);
                return ExitCode.Done;
            }
            catch (OperationCanceledException)
            {
                host.Warn("cancelled; the finished blocks are kept, and the same command goes on from there (--restart starts over)");
                return ExitCode.Cancelled;
            }
        });
        return command;
    }

    private static TokenizedText ReadText(string model, string path)
    {
        using var checkpoint = LlamaCheckpoint.Open(model);
        return TokenizedText.Read(path, checkpoint.Tokenizer);
    }
}
