using Nibble.Planning;
using Nibble.Recipes;

namespace Nibble.Torch.Planning;

/// <summary>Options for finding a mixed recipe.</summary>
/// <param name="Budget">The limit that the recipe must meet.</param>
internal sealed record MixOptions(Budget Budget)
{
    /// <summary>Whether layers that read the same input and that engines fuse (q, k and v; gate and up) get the same choice.</summary>
    public bool Tied { get; init; }

    /// <summary>
    /// The number of additional recipes to measure at the budget. Each uses the results of those before it, and the best is taken. At least 0. Default: 12.
    /// </summary>
    public int Rounds { get; init; } = 12;

    /// <summary>
    /// The time limit, in minutes, for training with the recipe, above 0. The layers that gain most are then trained, and the others keep the codes that PTQ
    /// chose. Default: null, no training.
    /// </summary>
    public double? QatMinutes { get; init; }

    /// <summary>The number of points of the front between the narrowest and the widest recipe, at least 0. Default: 7.</summary>
    public int FrontPoints { get; init; } = 7;
}

/// <summary>A recipe of the front, predicted and measured.</summary>
/// <param name="Recipe">The recipe.</param>
/// <param name="AverageBits">Bits per code, averaged over the quantized weights.</param>
/// <param name="Predicted">The loss over float predicted from the layers' own costs, with the interval that contains 90 % of measured recipes.</param>
/// <param name="Measured">The result measured on held-out data.</param>
internal sealed record MixPoint(Recipe Recipe, double AverageBits, LossPrediction Predicted, RecipeDistance Measured);

/// <summary>A mixed recipe and the alternatives.</summary>
/// <param name="Chosen">The recipe that meets the budget.</param>
/// <param name="Front">Recipes that no other recipe beats in both bits and predicted loss, by increasing bits.</param>
/// <param name="Uniform">The recipes with one bit width.</param>
/// <param name="Layers">The cost of quantizing each layer separately.</param>
internal sealed record MixResult(MixPoint Chosen, IReadOnlyList<MixPoint> Front, IReadOnlyList<MixPoint> Uniform, IReadOnlyList<LayerDistance> Layers)
{
    /// <summary>
    /// Divisions of <see cref="Chosen"/>'s layers between PTQ and QAT, by increasing loss. Empty if <see cref="MixOptions.QatMinutes"/> is null.
    /// </summary>
    public IReadOnlyList<MethodTrial> Methods { get; init; } = [];

    /// <summary>What <see cref="Recipe"/> does with each layer, with warnings for the user.</summary>
    public RunSummary Summary { get; init; } = RunSummary.Empty;

    /// <summary>The recipe to use: the best division, or the chosen recipe if only PTQ was considered.</summary>
    public Recipe Recipe => Methods is [var best, ..] ? best.Recipe with { Name = Chosen.Recipe.Name } : Chosen.Recipe;

    /// <summary>The share of the front's points whose measured loss is within the predicted interval, 0 to 1.</summary>
    public double Coverage => Front.Count == 0 ? 1 : (double)Front.Count(point => point.Predicted.Contains(point.Measured.Distance.Loss)) / Front.Count;
}
