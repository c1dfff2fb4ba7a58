using Nibble.Numerics;
using Nibble.Recipes;

namespace Nibble.Torch.Ptq;

/// <summary>Rounds each layer's weights as other recipes would, with the statistics at hand and without using the result.</summary>
/// <param name="recipes">What to try; of each rule only scheme, range and rounding count.</param>
/// <param name="wanted">Whether a layer is to be rounded as a recipe says, the latter by its number.</param>
internal sealed class TrialRounding(IReadOnlyList<Recipe> recipes, Func<string, int, bool> wanted)
{
    private readonly Dictionary<(string Layer, int Recipe), QuantizedTensor> weights = [];

    /// <summary>The weights by layer and number of the recipe.</summary>
    public IReadOnlyDictionary<(string Layer, int Recipe), QuantizedTensor> Weights => weights;

    /// <summary>The rules that decide about a layer.</summary>
    public IEnumerable<RecipeRule> RulesFor(string layer) => Wanted(layer).Select(trial => trial.Rule);

    /// <summary>Rounds a layer under every rule.</summary>
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
