using System.Text.Json.Nodes;
using Nibble.Recipes;
using Nibble.Torch.Models.Llama;

namespace Nibble.Torch.Models;

/// <summary>Gives a head that is tied to the embedding a matrix of its own, where what happens to it is another than what happens to the embedding.</summary>
internal static class TiedHead
{
    private const string Key = "tie_word_embeddings";

    /// <summary>Whether a recipe quantizes the tied head of a model: whether the rule that decides about it speaks of the head alone.</summary>
    /// <remarks>A rule that speaks of all layers leaves it to be the embedding: nobody has asked for a matrix more.</remarks>
    public static bool IsNamed(Recipe recipe, LlamaConfig config) =>
        config.TiedHead && recipe.RuleFor(LlamaCheckpoint.HeadName) is { } rule
        && !LlamaCheckpoint.LinearLayers(config).Any(layer => layer.Name != LlamaCheckpoint.HeadName && rule.Matches(layer.Name));

    /// <summary>The text of a <c>config.json</c> whose model has a head of its own.</summary>
    public static string Untie(string configJson)
    {
        var config = JsonNode.Parse(configJson)!.AsObject();
        if (config[Key]?.GetValue<bool>() != true)
        {
            return configJson;
        }

        config[Key] = false;
        return config.ToJsonString();
    }
}
