using Nibble.Models;

namespace Nibble.Torch.Tasks;

/// <summary>The supported tasks.</summary>
public static class ModelTasks
{
    private static readonly ITask[] All = [new LanguageModelling(), new Classification(), new Regression(), new Embedding()];

    /// <summary>The task of a kind.</summary>
    public static ITask Of(ModelTask kind) => Array.Find(All, task => task.Kind == kind) ?? throw new ArgumentOutOfRangeException(nameof(kind), kind, null);

    /// <summary>The task of a model.</summary>
    /// <exception cref="NibbleException">The model has no task.</exception>
    public static ITask Of(ModelDefinition definition)
    {
        ArgumentNullException.ThrowIfNull(definition);
        return Of(definition.Task ?? throw new NibbleException($"a model of type {definition.ModelType} without a head has no task"));
    }
}
