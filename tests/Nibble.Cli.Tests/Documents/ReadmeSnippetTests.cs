using Nibble.Artifacts;
using Nibble.Cli.Tests.Commands;
using Nibble.Recipes;
using Nibble.Torch.Calibration;
using Nibble.Torch.Data;
using Nibble.Torch.Evaluation;
using Nibble.Torch.Models;
using Nibble.Torch.Ptq;

namespace Nibble.Cli.Tests.Documents;

/// <summary>The C# of the README, compiled and run.</summary>
[Collection(CommandCollection.Name)]
public class ReadmeSnippetTests
{
    [Fact]
    public void Runs()
    {
        using var tiny = new TinyFolder();
        var (folder, textFile, output) = (tiny.Model, tiny.TrainingText, tiny.At("out"));

        // README begins
        using var model = LoadedModel.Open(folder);
        var text = TokenizedText.Read(textFile, model.Tokenizer);
        var recipe = RecipePresets.Parse("w4a16-g32");

        var quantized = PostTrainingQuantizer.Run(model, recipe, text, CalibrationOptions.For(model.Model.Config), seed: 1);
        QuantizedModelFile.Save(quantized, output);

        using var artifact = LoadedModel.Open(output);
        var context = Math.Min(512, model.Model.Config.MaxSequence);
        var score = Evaluator.Evaluate(artifact.Model, text, context, reference: model.Model);
        Console.WriteLine($"perplexity {score.Perplexity:F3}, KL {score.Divergence:F4} nats, same token {score.Agreement:P1}");
        // README ends

        Assert.InRange(score.Agreement!.Value, 0.5, 1);
    }

    [Fact]
    public void Stands_in_the_README()
    {
        var source = File.ReadAllLines(Path.Combine(Document.Root, "tests", "Nibble.Cli.Tests", "Documents", "ReadmeSnippetTests.cs"));
        var usings = source.Where(line => line.StartsWith("using Nibble.", StringComparison.Ordinal) && !line.Contains("Tests", StringComparison.Ordinal));
        var code = source
            .SkipWhile(line => line.Trim() != "// README begins").Skip(1).TakeWhile(line => line.Trim() != "// README ends")
            .Select(line => line.Length > 8 ? line[8..] : string.Empty);

        Assert.Equal(string.Join('\n', usings.Append(string.Empty).Concat(code)) + "\n", Document.Read("README.md").Block("csharp"));
    }
}
