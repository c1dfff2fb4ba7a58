using System.Text.Json.Nodes;

namespace Nibble.Models;

/// <summary>How the vectors of a text's tokens are combined into one, with the names of sentence-transformers.</summary>
public enum Pooling
{
    /// <summary>Their mean, without padding.</summary>
    Mean,

    /// <summary>The first token's.</summary>
    FirstToken,

    /// <summary>The greatest value of each channel, without padding.</summary>
    Max,
}

/// <summary>The task of a model's head, for tasks that transformers' configuration cannot express.</summary>
/// <param name="Task">The task.</param>
/// <param name="Pooling">How an embedding is pooled.</param>
/// <param name="Normalizes">Whether an embedding is scaled to length 1.</param>
public sealed record TaskConfig(ModelTask Task, Pooling Pooling = Pooling.Mean, bool Normalizes = false)
{
    /// <summary>The key of a <c>config.json</c> that Nibble writes for the task.</summary>
    public const string Key = "nibble_task";

    private static readonly Dictionary<ModelTask, string> Tasks = new()
    {
        [ModelTask.LanguageModelling] = "language-modelling",
        [ModelTask.Classification] = "classification",
        [ModelTask.Regression] = "regression",
        [ModelTask.Embedding] = "embedding",
    };

    private static readonly Dictionary<Pooling, string> Poolings = new()
    {
        [Pooling.Mean] = "mean",
        [Pooling.FirstToken] = "cls",
        [Pooling.Max] = "max",
    };

    /// <summary>The names of all tasks.</summary>
    public static IReadOnlyList<string> TaskNames => [.. Tasks.Values];

    /// <summary>The names of the pooling methods.</summary>
    public static IReadOnlyList<string> PoolingNames => [.. Poolings.Values];

    /// <summary>The name of a task.</summary>
    public static string NameOf(ModelTask task) => Tasks[task];

    /// <summary>The name of a pooling method.</summary>
    public static string NameOf(Pooling pooling) => Poolings[pooling];

    /// <summary>The task with a name; null if there is none.</summary>
    public static ModelTask? TaskOf(string name) => Tasks.Where(pair => pair.Value == name).Select(pair => (ModelTask?)pair.Key).FirstOrDefault();

    /// <summary>The pooling method with a name; null if there is none.</summary>
    public static Pooling? PoolingOf(string name) => Poolings.Where(pair => pair.Value == name).Select(pair => (Pooling?)pair.Key).FirstOrDefault();

    /// <summary>Adds the task to a <c>config.json</c>.</summary>
    /// <param name="configJson">The text of a <c>config.json</c>.</param>
    public string AddTo(string configJson)
    {
        var config = JsonNode.Parse(configJson)!.AsObject();
        var task = new JsonObject { ["name"] = NameOf(Task) };
        if (Task == ModelTask.Embedding)
        {
            task["pooling"] = NameOf(Pooling);
            task["normalize"] = Normalizes;
        }

        config[Key] = task;
        return config.ToJsonString();
    }

    /// <summary>The task in a <c>config.json</c>; null if it has none.</summary>
    public static TaskConfig? In(string configJson) => ConfigReader.Parse(configJson, "config.json", Read);

    /// <summary>The task in a configuration; null if it has none.</summary>
    internal static TaskConfig? Read(ConfigReader config)
    {
        if (config.Object(Key) is not { } task)
        {
            return null;
        }

        var (name, pooling) = (task.Text("name", string.Empty), task.Text("pooling", "mean"));
        return new TaskConfig(
            TaskOf(name) ?? throw new NibbleException($"{task.Source}: the task is '{name}', expected one of {string.Join(", ", TaskNames)}"),
            PoolingOf(pooling) ?? throw task.Wrong("pooling", task.Get("pooling")!.Value, string.Join(", ", PoolingNames)),
            task.Flag("normalize", false));
    }
}
