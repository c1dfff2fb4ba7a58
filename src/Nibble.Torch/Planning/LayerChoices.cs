using System.Globalization;
using Nibble.Models;
using Nibble.Numerics;
using Nibble.Planning;
using Nibble.Recipes;
using Nibble.Torch.Models;

namespace Nibble.Torch.Planning;

/// <summary>The layers of a model, tied where necessary, and the choices for each.</summary>
internal sealed class LayerChoices
{
    private readonly IQuantizableModel model;
    private readonly IReadOnlyList<Recipe> recipes;
    private readonly Dictionary<string, long> weights;
    private readonly List<List<string>> items;

    /// <param name="model">The model.</param>
    /// <param name="layers">The layers to choose for.</param>
    /// <param name="recipes">The choices: recipes with one algorithm and one bit width each.</param>
    /// <param name="tied">Whether layers that read the same input form one item.</param>
    public LayerChoices(IQuantizableModel model, IReadOnlyList<string> layers, IReadOnlyList<Recipe> recipes, bool tied)
    {
        this.model = model;
        this.recipes = recipes;
        weights = model.Linears().Where(linear => layers.Contains(linear.Key)).ToDictionary(linear => linear.Key, linear => linear.Value.Weight.numel());
        var stages = model.Blocks.SelectMany((block, i) => block.Stages.SelectMany((stage, number) => stage.Layers.Select(layer =>
                (Layer: model.Definition.BlockPrefix(i) + layer.Key, Item: string.Create(CultureInfo.InvariantCulture, $"{i}:{number}")))))
            .ToDictionary(item => item.Layer, item => item.Item);
        items = [.. layers.GroupBy(layer => tied ? stages.GetValueOrDefault(layer, layer) : layer).Select(group => group.ToList())];
    }

    /// <summary>The number of weights in all layers to choose for.</summary>
    public long WeightCount => weights.Values.Sum();

    /// <summary>The integer program: costs by layer and recipe, and sizes of one kind.</summary>
    /// <param name="cost">The cost of a layer with the recipe at an index: its divergence from the float model.</param>
    /// <param name="size">The size of a layer: <see cref="CodeBits"/> or <see cref="Bytes"/>.</param>
    public ChoiceProblem Problem(Func<string, int, double> cost, Func<string, int, long> size) => new(
        [.. items.Select(layers =>
            (IReadOnlyList<Choice>)[
            .. Enumerable.Range(0, recipes.Count).Select(
            recipe => new Choice(layers.Sum(layer => cost(layer, recipe)), layers.Sum(layer => size(layer, recipe))))])]);

    /// <summary>The number of bits of a layer's codes.</summary>
    public long CodeBits(string layer, int recipe) => weights[layer] * Scheme(layer, recipe).Bits;

    /// <summary>The size of a layer in an artifact, in bytes.</summary>
    public long Bytes(string layer, int recipe)
    {
        var linear = model.Linears().First(item => item.Key == layer).Value;
        return QuantizedTensor.CountStoredBytes(linear.OutFeatures, linear.InFeatures, Scheme(layer, recipe));
    }

    /// <summary>The selection that uses one recipe for all layers.</summary>
    public int[] Uniform(int recipe) => [.. Enumerable.Repeat(recipe, items.Count)];

    /// <summary>The code bits of a selection, averaged over its weights.</summary>
    public double AverageBits(IReadOnlyList<int> selection) =>
        (double)items.Zip(selection, (layers, recipe) => layers.Sum(layer => CodeBits(layer, recipe))).Sum() / WeightCount;

    /// <summary>Creates the recipe of a selection.</summary>
    public Recipe Recipe(IReadOnlyList<int> selection, string name)
    {
        var chosen = items.Zip(selection, (layers, recipe) => layers.Select(layer => KeyValuePair.Create(layer, recipe))).SelectMany(layers => layers)
            .ToDictionary();
        var rules = model.Linears().Select(
            linear => KeyValuePair.Create(linear.Key, chosen.TryGetValue(linear.Key, out var recipe) ? recipes[recipe].RuleFor(linear.Key) : null)).ToList();
        var bits = (int)Math.Clamp(Math.Round(AverageBits(selection)), QuantizationScheme.MinBits, QuantizationScheme.MaxBits);
        var training = model.Definition.Task == ModelTask.LanguageModelling ? QatSettings.ForWidth(bits) : QatSettings.ForEncoder(bits);
        return MixedRecipe.Create(name, rules, recipes[0] with { Qat = training });
    }

    private QuantizationScheme Scheme(string layer, int recipe) => recipes[recipe].RuleFor(layer)!.Weights!;
}
