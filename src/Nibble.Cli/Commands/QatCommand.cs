using System.CommandLine;
using System.Diagnostics;
using Nibble.Recipes;
using Nibble.Torch.Data;
using Nibble.Torch.Models;
using Nibble.Torch.Qat;

namespace Nibble.Cli.Commands;

/// <summary><c>nibble qat</c>: quantization-aware training into an artifact.</summary>
internal static class QatCommand
{
    public static Command Create(CommandHost host)
    {
        var model = CommonOptions.Model();
        var recipe = CommonOptions.Recipe();
        var data = new Option<string>("--data", "-d") { Description = "The text to train on: UTF-8, a line <|endoftext|> between two documents.", Required = true };
        var output = CommonOptions.Output();
        var steps = CommonOptions.Steps("the recipe's number");
        var rate = new Option<double?>("--learning-rate") { Description = $"Peak learning rate of the weights; the recipe's ({new QatSettings().LearningRate} in presets) when not given. Large models want less." }
            .Within(value => value > 0 && double.IsFinite(value), "above 0");
        var every = CommonOptions.AtLeast("--checkpoint-every", 1, "Steps after which the training saves itself, to go on from when it is interrupted; about every minute when not given.");
        var restart = CommonOptions.Restart();
        var seed = CommonOptions.Seed();
        var threads = CommonOptions.Threads();
        var json = CommonOptions.Json();
        var command = new Command("qat", "Train a model through its quantizers, so that it adapts to them, and quantize it; run it again to go on where it was stopped.")
        {
            model, recipe, data, output, steps, rate, every, restart, seed, threads, json,
        };
        command.SetAction(parsed =>
        {
            var started = Stopwatch.GetTimestamp();
            var folder = parsed.GetValue(output)!;
            QuantizeOutput.RequireAbsentOrUnfinished(folder);
            var rules = RecipeFile.Load(parsed.GetValue(recipe)!);
            CommandHost.StartTorch(parsed.GetValue(threads));
            using var loaded = LoadedModel.OpenToTrain(parsed.GetValue(model)!, rules);
            var settings = rules.Qat with
            {
                Steps = parsed.GetValue(steps) ?? rules.Qat.Steps,
                LearningRate = parsed.GetValue(rate) ?? rules.Qat.LearningRate,
                SequenceLength = Math.Min(rules.Qat.SequenceLength, loaded.Model.Config.MaxSequence),
            };
            var options = new QatOptions(loaded, rules, settings, TokenizedText.Read(parsed.GetValue(data)!, loaded.Tokenizer), folder)
            {
                Seed = parsed.GetValue(seed),
                CheckpointEvery = parsed.GetValue(every),
                Restart = parsed.GetValue(restart),
            };
            try
            {
                var result = host.WithProgress(progress => QatRun.Run(options, progress, host.Cancellation));
                QuantizeOutput.Report(host, parsed.GetValue(json), result.Artifact, rules.Name, "qat", folder, started, result.FinalLoss);
                return ExitCode.Done;
            }
            catch (OperationCanceledException)
            {
                host.Warn("cancelled; the steps that are done are kept, and the same command goes on from there (--restart starts over)");
                return ExitCode.Cancelled;
            }
        });
        return command;
    }
}
