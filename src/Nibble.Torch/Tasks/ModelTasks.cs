using Nibble.Models;
using Nibble.Torch.Data;
using Nibble.Torch.Models;

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

    /// <summary>Reads data of one file.</summary>
    /// <param name="task">The task.</param>
    /// <param name="path">The file, which may be a pipe.</param>
    /// <param name="model">The model whose tokenizer, sizes and classes to use.</param>
    /// <param name="options">The options.</param>
    /// <param name="cancellation">Cancels waiting for a pipe.</param>
    /// <exception cref="NibbleException">The file is missing or does not have the task's format.</exception>
    public static ITaskData Read(this ITask task, string path, LoadedModel model, ReadOptions options, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(task);
        return task.Read([path], model, options, cancellation);
    }
}
