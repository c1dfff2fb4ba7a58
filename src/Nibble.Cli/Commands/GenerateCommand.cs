using System.CommandLine;
using Nibble.Cli.Rendering;
using Nibble.Torch.Evaluation;
using Nibble.Torch.Models;

namespace Nibble.Cli.Commands;

/// <summary><c>nibble generate</c>: lets a model or an artifact continue a text.</summary>
internal static class GenerateCommand
{
    public static Command Create(CommandHost host)
    {
        var model = CommonOptions.ModelOrArtifact();
        var prompt = new Option<string>("--prompt", "-p") { Description = "The text to continue.", Required = true };
        var tokens = CommonOptions.AtLeast("--max-tokens", 1, "New tokens at most; 120 when not given.");
        var temperature = new Option<double>("--temperature") { Description = "Divides the logits; 0 always takes the likeliest token.", DefaultValueFactory = _ => 0.8 }.Within(value => value >= 0 && double.IsFinite(value), "0 or more");
        var topP = new Option<double>("--top-p") { Description = "Sample from the likeliest tokens that hold this share of the probability.", DefaultValueFactory = _ => 0.95 }.Within(value => value is > 0 and <= 1, "above 0 and at most 1");
        var seed = CommonOptions.Seed();
        var threads = CommonOptions.Threads();
        var json = CommonOptions.Json();
        var command = new Command("generate", "Let a model continue a text, to see with your own eyes what a width costs.")
        {
            model, prompt, tokens, temperature, topP, seed, threads, json,
        };
        command.SetAction(parsed =>
        {
            CommandHost.StartTorch(parsed.GetValue(threads));
            using var loaded = LoadedModel.Open(parsed.GetValue(model)!);
            var start = parsed.GetValue(prompt)!;
            var options = new GenerationOptions(parsed.GetValue(tokens) ?? 120, parsed.GetValue(temperature), parsed.GetValue(topP), parsed.GetValue(seed));
            var text = TextGenerator.Generate(loaded, start, options, host.Cancellation);
            if (parsed.GetValue(json))
            {
                host.WriteJson(new GenerateDocument(GenerateDocument.CurrentSchema, loaded.Name, start, text), CliJson.Default.GenerateDocument);
            }
            else
            {
                host.Output.WriteLine(start + text);
            }

            return ExitCode.Done;
        });
        return command;
    }
}
