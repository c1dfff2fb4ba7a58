using System.CommandLine;
using System.Diagnostics;
using Nibble.Recipes;
using Nibble.Torch.Calibration;
using Nibble.Torch.Data;
using Nibble.Torch.Models;
using Nibble.Torch.Ptq;

namespace Nibble.Cli.Commands;

/// <summary><c>nibble ptq</c>: post-training quantization into an artifact.</summary>
internal static class PtqCommand
{
    public static Command Create(CommandHost host)
    {
        var model = CommonOptions.Model();
        var recipe = CommonOptions.Recipe();
        var data = new Option<string?>("--data", "-d") { Description = "Calibration text; needed when the recipe has static activations." };
        var output = CommonOptions.Output();
        var seed = CommonOptions.Seed();
        var threads = CommonOptions.Threads();
        var json = CommonOptions.Json();
        var command = new Command("ptq", "Quantize a trained model without training it.") { model, recipe, data, output, seed, threads, json };
        command.SetAction(parsed =>
        {
            var started = Stopwatch.GetTimestamp();
            var folder = parsed.GetValue(output)!;
            QuantizeOutput.RequireAbsent(folder);
            var rules = RecipeFile.Load(parsed.GetValue(recipe)!);
            CommandHost.StartTorch(parsed.GetValue(threads));
            using var loaded = LoadedModel.Open(parsed.GetValue(model)!);
            loaded.RequireFloat();
            var text = parsed.GetValue(data) is { } path ? TokenizedText.Read(path, loaded.Tokenizer) : null;
            var quantized = host.WithProgress(progress =>
                PostTrainingQuantizer.Run(loaded, rules, text, CalibrationOptions.For(loaded.Model.Config), parsed.GetValue(seed), progress, host.Cancellation));
            QuantizeOutput.Write(host, parsed.GetValue(json), loaded, quantized, folder, started, loss: null);
            return ExitCode.Done;
        });
        return command;
    }
}
