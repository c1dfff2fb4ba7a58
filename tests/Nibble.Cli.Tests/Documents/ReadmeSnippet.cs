using Nibble.Artifacts;
using Nibble.Recipes;
using Nibble.Torch.Data;
using Nibble.Torch.Evaluation;
using Nibble.Torch.Models;
using Nibble.Torch.Ptq;

namespace Nibble.Cli.Tests.Documents;

/// <summary>The C# of the README.</summary>
internal static class ReadmeSnippet
{
    public static EvaluationResult Run(string folder, string textFile, string output)
    {
        // README begins
        using var model = LoadedModel.Open(folder);
        var text = TokenizedText.Read(textFile, model.Tokenizer);
        var recipe = RecipePresets.Parse("w4a16-g32");

        var quantized = PostTrainingQuantizer.Run(model, recipe, text, seed: 1);
        QuantizedModelFile.Save(quantized, output);

        using var artifact = LoadedModel.Open(output);
        var context = Math.Min(512, model.Model.Config.MaxSequence);
        var score = Evaluator.Evaluate(artifact.Model, text, context, reference: model.Model);
        Console.WriteLine($"perplexity {score.Perplexity:F3}, KL {score.Divergence:F4} nats, same token {score.Agreement:P1}");
        // README ends

        return score;
    }
}
