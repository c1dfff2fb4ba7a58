using System.Text.RegularExpressions;
using Nibble.Files;
using Nibble.Numerics;

namespace Nibble.Recipes;

/// <summary>An engine's weight format to quantize for, such as <c>gguf:q4_0</c>. Weights get the scheme of its blocks.</summary>
/// <remarks>
/// Codes, groups and binary16 scales are those of the format, so what is simulated and trained is what the file holds. Layers whose rows are not whole blocks
/// stay in float, because the file stores them as F16. Two things are not simulated: the file rounds the minimums of Q4_1 and Q5_1 to binary16, and
/// the engine rounds inputs.
/// </remarks>
public sealed partial record RecipeTarget
{
    private const string Prefix = "gguf:";

    private static readonly GgufType[] Types = [GgufType.Q8_0, GgufType.Q5_1, GgufType.Q5_0, GgufType.Q4_1, GgufType.Q4_0, GgufType.TQ2_0, GgufType.TQ1_0];

    private RecipeTarget(GgufType type) => Type = type;

    /// <summary>The names of all targets.</summary>
    public static IReadOnlyList<string> Names { get; } = [.. Types.Select(NameOf)];

    /// <summary>The block type.</summary>
    public GgufType Type { get; }

    /// <summary>The target's name.</summary>
    public string Name => NameOf(Type);

    /// <summary>The scheme of the weights.</summary>
    public QuantizationScheme Weights => Preset.Rules[^1].Weights!;

    private Recipe Preset => RecipePresets.Parse(Type switch
    {
        GgufType.Q8_0 => "w8a16-g32-sym",
        GgufType.Q5_1 => "w5a16-g32-mse",
        GgufType.Q5_0 => "w5a16-g32-sym-mse",
        GgufType.Q4_1 => "w4a16-g32-mse",
        GgufType.Q4_0 => "w4a16-g32-sym-mse",
        _ => "wta16-g256",
    });

    /// <summary>The target with a name.</summary>
    /// <exception cref="NibbleException">There is no such target.</exception>
    public static RecipeTarget Parse(string name)
    {
        ArgumentNullException.ThrowIfNull(name);
        var type = Types.Where(type => NameOf(type).Equals(name, StringComparison.OrdinalIgnoreCase)).Cast<GgufType?>().FirstOrDefault();
        return type is { } found ? new RecipeTarget(found)
            : throw new NibbleException($"There is no target '{name}'.{Suggestion.For(name, Names)} Targets are {string.Join(", ", Names)}.");
    }

    /// <summary>The recipe that quantizes for the target.</summary>
    /// <param name="recipe">How codes are chosen and trained. Its weight schemes are replaced. Null takes a recipe that suits the bit width.</param>
    /// <param name="layers">The names of the model's linear layers and the length of their rows.</param>
    /// <exception cref="NibbleException">The recipe does something the format's engine does not compute, or no layer would be quantized.</exception>
    public Recipe Apply(Recipe? recipe, IReadOnlyList<(string Name, int Columns)> layers)
    {
        ArgumentNullException.ThrowIfNull(layers);
        var basis = recipe ?? Preset;
        if (basis.Rotation != Rotation.None)
        {
            throw new NibbleException($"the recipe '{basis.Name}' rotates the model, and the engine of {Name} does not rotate inputs; remove the rotation");
        }

        if (layers.All(layer => basis.RuleFor(layer.Name) is null || IsRagged(layer)))
        {
            throw new NibbleException(
                $"no layer would be quantized for {Name}: columns must be multiples of {Type.BlockSize()}, and the columns of this model are "
                + $"{string.Join(", ", layers.Select(layer => layer.Columns).Distinct().Order())}");
        }

        return basis with
        {
            Name = recipe is null ? Name : $"{recipe.Name} for {Name}",
            Rules = [.. Ragged(layers).Select(pattern => new RecipeRule(pattern, Weights: null)), .. basis.Rules.Select(Replace)],
            Qat = recipe?.Qat ?? basis.Qat,
        };
    }

    private static string NameOf(GgufType type) => Prefix + type.ToString().ToLowerInvariant();

    private bool IsRagged((string Name, int Columns) layer) => layer.Columns % Type.BlockSize() != 0;

    private RecipeRule Replace(RecipeRule rule) => rule.Weights is null ? rule : new RecipeRule(rule.Pattern, Weights, rule.Activations, rule.Range)
    {
        Algorithms = rule.Algorithms,
        WeightMethod = rule.WeightMethod,
        ActivationMethod = rule.ActivationMethod,
    };

    /// <summary>Patterns of the layers that stay in float: one for all blocks if they agree.</summary>
    private IEnumerable<string> Ragged(IReadOnlyList<(string Name, int Columns)> layers) =>
        layers.GroupBy(layer => BlockNumber.Replace(layer.Name, ".*."))
            .SelectMany(group => group.All(IsRagged) ? [group.Key] : group.Where(IsRagged).Select(layer => layer.Name));

    [GeneratedRegex(@"\.\d+\.", RegexOptions.CultureInvariant)]
    private static partial Regex BlockNumber { get; }
}
