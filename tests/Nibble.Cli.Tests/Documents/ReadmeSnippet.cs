using Nibble.Artifacts;
using Nibble.Recipes;
using Nibble.Torch.Data;
using Nibble.Torch.Models;
using Nibble.Torch.Ptq;
using Nibble.Torch.Tasks;

namespace Nibble.Cli.Tests.Documents;

/// <summary>The C# of the README.</summary>
internal static class ReadmeSnippet
{
    public static TaskScore Run(string folder, string textFile, string output)
    {
        // README begins
        using var model = LoadedModel.Open(folder);
        var text = TokenizedText.Read(textFile, model.Tokenizer);
        var recipe = RecipePresets.Parse("w4a16-g32");

        var quantized = PostTrainingQuantizer.Run(model, recipe, text, seed: 1);
        QuantizedModelFile.Save(quantized, output);

        using var artifact = LoadedModel.Open(output);
        var task = ModelTasks.Of(model.Definition);
        var score = task.Evaluate(artifact.Model, text, new ScoreOptions { Reference = model.Model });
        Console.WriteLine($"{score.Main.Name} {score.Main.Value:F3}, KL {score.Divergence:F4} nats, same token {score.Agreement:P1}");
        // README ends

        return score;
    }
}
