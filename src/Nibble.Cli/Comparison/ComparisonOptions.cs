using Nibble.Torch.Data;
using Nibble.Models;
using Nibble.Recipes;

namespace Nibble.Cli.Comparison;

/// <summary>What is compared.</summary>
/// <param name="Model">The checkpoint's folder.</param>
/// <param name="Task">What the model is for; null is what its folder says.</param>
/// <param name="Training">Calibrates PTQ, trains QAT and the control.</param>
/// <param name="Evaluation">Scores every variant.</param>
/// <param name="Recipes">One a width.</param>
/// <param name="PtqRecipes">The same with what PTQ does to the weights, in the same order.</param>
/// <param name="Hybrids">Recipes that name both methods, each trained as it says itself.</param>
/// <param name="Qat">How the control trains, and how long QAT does, whose rates are those of each recipe.</param>
internal sealed record ComparisonOptions(
    string Model,
    TaskConfig? Task,
    ITaskData Training,
    ITaskData Evaluation,
    IReadOnlyList<Recipe> Recipes,
    IReadOnlyList<Recipe> PtqRecipes,
    IReadOnlyList<Recipe> Hybrids,
    QatSettings Qat)
{
    /// <summary>How the checkpoint, which has no head for the task, is trained first; null where it has one.</summary>
    public QatSettings? FineTuning { get; init; }

    /// <summary>Tokens in an evaluation window; null for texts, which have lengths of their own.</summary>
    public int? Context { get; init; }

    /// <summary>Evaluation windows, texts or pairs at most; null for all.</summary>
    public int? Windows { get; init; }

    /// <summary>What every variant is asked to continue; null for a model that writes nothing.</summary>
    public string? Prompt { get; init; }

    /// <summary>Drives everything random.</summary>
    public long Seed { get; init; } = 1;

    /// <summary>What repeats the comparison.</summary>
    public required string CommandLine { get; init; }
}
