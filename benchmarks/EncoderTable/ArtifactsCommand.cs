using System.CommandLine;
using Nibble.Recipes;
using Nibble.Torch.Native;
using TorchSharp;

namespace Nibble.Benchmarks.EncoderTable;

/// <summary><c>artifacts</c>: the float model of one seed as a checkpoint, and what PTQ makes of it as artifacts, to be exported and run elsewhere.</summary>
internal static class ArtifactsCommand
{
    public static Command Create()
    {
        var data = new Argument<DirectoryInfo>("data") { Description = "a folder with sst2/ and bert-vocab/" };
        var output = new Argument<string>("output") { Description = "the folder to write into" };
        var recipes = new Argument<string[]>("recipes") { Description = "presets, such as w8a8-static; tables of words, positions and types stay float", Arity = ArgumentArity.OneOrMore };
        var seed = new Option<int>("--seed") { DefaultValueFactory = _ => 1 };
        var threads = new Option<int>("--threads") { DefaultValueFactory = _ => 1 };
        var command = new Command("artifacts", "Write the float model and its quantized artifacts") { data, output, recipes, seed, threads };
        command.SetAction((parsed, cancellation) =>
        {
            TorchRuntime.EnsureLoaded();
            torch.set_num_threads(parsed.GetValue(threads));
            var folder = parsed.GetRequiredValue(output);
            using var roads = new Roads(parsed.GetRequiredValue(data).FullName, new SmallBert(), new QatSettings(), parsed.GetValue(seed), new StepLines(), cancellation);
            roads.TrainFloat();
            roads.SaveFloat(Path.Combine(folder, "float"));
            foreach (var name in parsed.GetRequiredValue(recipes))
            {
                var recipe = RecipePresets.Parse(name);
                roads.Save(recipe with { Rules = [new RecipeRule("*_embeddings", Weights: null), .. recipe.Rules] }, Path.Combine(folder, name));
            }

            return Task.CompletedTask;
        });
        return command;
    }
}
