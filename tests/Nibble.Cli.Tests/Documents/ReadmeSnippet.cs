using Nibble.Recipes;

namespace Nibble.Cli.Tests.Documents;

/// <summary>The C# of the README.</summary>
internal static class ReadmeSnippet
{
    public static ModelComparison Run(string folder, string textFile, string output)
    {
        // README begins
        var recipe = RecipePresets.Parse("w4a16-g32-gptq");
        Quantize.Ptq(folder, recipe, output, new PtqOptions { DataFiles = [textFile] });

        var compared = Quantize.Compare(folder, output, textFile);
        var (exact, score) = (compared.Float.Main, compared.Quantized);
        Console.WriteLine($"{exact.Name} {exact.Value:F3}, quantized {score.Main.Value:F3}, KL {score.Divergence:F4} nats, same token {score.Agreement:P1}");
        // README ends

        return compared;
    }
}
