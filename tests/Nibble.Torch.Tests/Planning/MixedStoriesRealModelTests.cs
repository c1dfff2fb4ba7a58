using Nibble.Recipes;
using Nibble.Torch.Evaluation;
using Nibble.Torch.Models;
using Nibble.Torch.Ptq;
using Nibble.Torch.Tests.Shared;

namespace Nibble.Torch.Tests.Planning;

/// <summary>What the recipes that <c>nibble mix</c> wrote for stories260K lose, against one width for all layers (docs/results.md).</summary>
public sealed class MixedStoriesRealModelTests : IDisposable
{
    private readonly LoadedModel source = Texts.Stories();

    public void Dispose() => source.Dispose();

    [Fact]
    public void ThreeBitsOnAverage_LoseATenthLessThanThreeBitsEverywhere()
    {
        var mixed = RecipeFile.Load(Path.Combine(Root(), "benchmarks", "recipes", "mixed", "stories260K-3bits.yaml"));
        var layers = source.Model.Linears.Where(linear => mixed.RuleFor(linear.Key) is not null).ToList();
        Assert.Equal(35, layers.Count);
        Assert.InRange(layers.Sum(linear => (double)linear.Value.Weight.numel() * mixed.RuleFor(linear.Key)!.Weights!.Bits) / layers.Sum(linear => linear.Value.Weight.numel()), 2.9, 3);

        var (train, valid) = (Texts.TinyStories("train.txt", source), Texts.TinyStories("valid.txt", source));
        var lossOfFloat = Evaluator.Evaluate(source.Model, valid, 512, 20).Loss;
        var (mix, uniform) = (Loss(mixed), Loss(RecipePresets.Parse("w3a16-g32-gptaq")));
        TestContext.Current.TestOutputHelper?.WriteLine($"mixed {mix:F4}, uniform {uniform:F4} nats over float");
        Assert.InRange(mix, 0, 0.9 * uniform);

        double Loss(Recipe recipe)
        {
            using var model = LoadedModel.Simulate(PostTrainingQuantizer.Run(source, recipe, train, seed: 1), recipe.Name);
            return Evaluator.Evaluate(model, valid, 512, 20).Loss - lossOfFloat;
        }
    }

    private static string Root()
    {
        var folder = new DirectoryInfo(AppContext.BaseDirectory);
        while (!File.Exists(Path.Combine(folder.FullName, "Nibble.slnx")))
        {
            folder = folder.Parent ?? throw new InvalidOperationException("The tests run outside of the repository.");
        }

        return folder.FullName;
    }
}
