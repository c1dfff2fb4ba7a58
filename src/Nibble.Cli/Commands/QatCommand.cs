using System.CommandLine;
using System.Diagnostics;
using Nibble.Artifacts;
using Nibble.Recipes;
using Nibble.Torch.Calibration;
using Nibble.Torch.Data;
using Nibble.Torch.Models;
using Nibble.Torch.Ptq;
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
        var seed = CommonOptions.Seed();
        var threads = CommonOptions.Threads();
        var json = CommonOptions.Json();
        var command = new Command("qat", "Train a model through its quantizers, so that it adapts to them, and quantize it.")
        {
            model, recipe, data, output, steps, rate, seed, threads, json,
        };
        command.SetAction(parsed =>
        {
            var started = Stopwatch.GetTimestamp();
            var folder = parsed.GetValue(output)!;
            QuantizeOutput.RequireAbsent(folder);
            var rules = RecipeFile.Load(parsed.GetValue(recipe)!);
            CommandHost.StartTorch(parsed.GetValue(threads));
            using var loaded = LoadedModel.OpenToTrain(parsed.GetValue(model)!, rules);
            var settings = rules.Qat with
            {
                Steps = parsed.GetValue(steps) ?? rules.Qat.Steps,
                LearningRate = parsed.GetValue(rate) ?? rules.Qat.LearningRate,
                SequenceLength = Math.Min(rules.Qat.SequenceLength, loaded.Model.Config.MaxSequence),
            };
            var text = TokenizedText.Read(parsed.GetValue(data)!, loaded.Tokenizer);
            var trainer = new QuantizationAwareTrainer(loaded, rules, settings, text, CalibrationOptions.For(loaded.Model.Config), parsed.GetValue(seed));
            var quantized = host.WithProgress(progress =>
            {
                trainer.Train(progress, host.Cancellation);
                return trainer.Convert();
            });
            QuantizedModelFile.Save(quantized, folder);
            var result = new QuantizationResult(loaded.Name, quantized.Layers.Count, loaded.Bytes, QuantizedModelFile.TensorBytes(folder));
            QuantizeOutput.Report(host, parsed.GetValue(json), result, rules.Name, quantized.Provenance.Method, folder, started, trainer.Losses[^1].Loss);
            return ExitCode.Done;
        });
        return command;
    }
}
