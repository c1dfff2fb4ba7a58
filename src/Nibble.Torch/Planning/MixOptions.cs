using Nibble.Planning;
using Nibble.Recipes;

namespace Nibble.Torch.Planning;

/// <summary>What a mixed recipe is to be.</summary>
/// <param name="Budget">What it may take.</param>
internal sealed record MixOptions(Budget Budget)
{
    /// <summary>Whether layers that read the same input and that engines fuse (q, k and v; gate and up) are treated alike.</summary>
    public bool Tied { get; init; }

    /// <summary>How many further recipes are measured at the budget, each learning from those before it, of which the best is taken; at least 0.</summary>
    public int Rounds { get; init; } = 12;

    /// <summary>Minutes that training with the recipe may take, above 0: the layers that gain most by it are then trained, and the codes of the others stay as
    /// PTQ chose them; null trains nothing.</summary>
    public double? QatMinutes { get; init; }

    /// <summary>Points of the front between the narrowest and the widest recipe, at least 0.</summary>
    public int FrontPoints { get; init; } = 7;
}

/// <summary>A recipe of the front, predicted and measured.</summary>
/// <param name="Recipe">The recipe.</param>
/// <param name="AverageBits">Bits of a code, averaged over the quantized weights.</param>
/// <param name="Predicted">The loss over float that the layers' own costs predict, with the interval in which 90 % of the measured recipes lie.</param>
/// <param name="Measured">What was measured on held-out text.</param>
internal sealed record MixPoint(Recipe Recipe, double AverageBits, LossPrediction Predicted, RecipeDistance Measured);

/// <summary>A mixed recipe, and what it was chosen from.</summary>
/// <param name="Chosen">The recipe that meets the budget.</param>
/// <param name="Front">Recipes that no other beats in bits and in predicted loss, by rising bits.</param>
/// <param name="Uniform">The recipes of one width.</param>
/// <param name="Layers">What each layer costs alone.</param>
internal sealed record MixResult(MixPoint Chosen, IReadOnlyList<MixPoint> Front, IReadOnlyList<MixPoint> Uniform, IReadOnlyList<LayerDistance> Layers)
{
    /// <summary>Ways to divide <see cref="Chosen"/>'s layers between PTQ and QAT, by rising loss; empty where <see cref="MixOptions.QatMinutes"/> asks for
    /// none.</summary>
    public IReadOnlyList<MethodTrial> Methods { get; init; } = [];

    /// <summary>What <see cref="Recipe"/> does with each layer, and what the user should know.</summary>
    public RunSummary Summary { get; init; } = RunSummary.Empty;

    /// <summary>The recipe to use: that of the best division, or the one that was chosen for PTQ alone.</summary>
    public Recipe Recipe => Methods is [var best, ..] ? best.Recipe with { Name = Chosen.Recipe.Name } : Chosen.Recipe;

    /// <summary>Share of the front's points whose measured loss is within the interval, 0 to 1.</summary>
    public double Coverage => Front.Count == 0 ? 1 : (double)Front.Count(point => point.Predicted.Contains(point.Measured.Distance.Loss)) / Front.Count;
}
