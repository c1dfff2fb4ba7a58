using Nibble.Numerics;
using Nibble.Recipes;

namespace Nibble.Torch.Ptq;

/// <summary>Rounds each layer's weights with additional recipes and the available statistics, without using the result in the model.</summary>
/// <param name="recipes">The recipes to try. Only the scheme, range and rounding of each rule are used.</param>
/// <param name="wanted">Whether to round a layer with a recipe, by the recipe's index.</param>
internal sealed class TrialRounding(IReadOnlyList<Recipe> recipes, Func<string, int, bool> wanted)
{
    private readonly Dictionary<(string Layer, int Recipe), QuantizedTensor> weights = [];

    /// <summary>The weights by layer and index of the recipe.</summary>
    public IReadOnlyDictionary<(string Layer, int Recipe), QuantizedTensor> Weights => weights;

    /// <summary>The additional rules for a layer.</summary>
    public IEnumerable<RecipeRule> RulesFor(string layer) => Wanted(layer).Select(trial => trial.Rule);

    /// <summary>Rounds a layer with every additional rule.</summary>
    public void Run(string layer, Func<RecipeRule, QuantizedTensor> round)
    {
        foreach (var (number, rule) in Wanted(layer))
        {
            weights.Add((layer, number), round(rule));
        }
    }

    private IEnumerable<(int Number, RecipeRule Rule)> Wanted(string layer)
    {
        for (var i = 0; i < recipes.Count; i++)
        {
            if (wanted(layer, i) && recipes[i].RuleFor(layer) is { } rule)
            {
                yield return (i, rule);
            }
        }
    }
}
