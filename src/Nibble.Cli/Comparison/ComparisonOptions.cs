using Nibble.Torch.Data;
using Nibble.Models;
using Nibble.Recipes;

namespace Nibble.Cli.Comparison;

/// <summary>What a comparison compares.</summary>
/// <param name="Model">The checkpoint's folder.</param>
/// <param name="Task">The task; null for the one that the folder specifies.</param>
/// <param name="Training">The data that PTQ calibrates on, and QAT and the control train on.</param>
/// <param name="Measure">What every variant is scored on.</param>
/// <param name="Recipes">One recipe per width.</param>
/// <param name="PtqRecipes">The same recipes with the algorithms of PTQ, in the same order; once for each combination of algorithms.</param>
/// <param name="Hybrids">Recipes that use both methods. Each is trained with its own settings.</param>
/// <param name="Qat">Training settings of the control. QAT takes its length from here and its learning rates from each recipe.</param>
internal sealed record ComparisonOptions(
    string Model,
    TaskConfig? Task,
    ITaskData Training,
    IComparisonMeasure Measure,
    IReadOnlyList<Recipe> Recipes,
    IReadOnlyList<Recipe> PtqRecipes,
    IReadOnlyList<Recipe> Hybrids,
    QatSettings Qat)
{
    /// <summary>Settings to fine-tune a checkpoint that has no head for the task; null if it has one.</summary>
    public QatSettings? FineTuning { get; init; }

    /// <summary>The prompt that every variant continues; null for a model that generates no text.</summary>
    public string? Prompt { get; init; }

    /// <summary>Whether the training data was written by the float model itself, from which it can learn nothing.</summary>
    public bool IsSelfWritten { get; init; }

    /// <summary>Whether the float model is trained in the same way, as a control. Embedding models have no labels to learn from.</summary>
    public bool HasControl(ModelTask task) => task != ModelTask.Embedding && !IsSelfWritten;

    /// <summary>The random seed.</summary>
    public long Seed { get; init; } = 1;

    /// <summary>The command that repeats the comparison.</summary>
    public required string CommandLine { get; init; }
}
