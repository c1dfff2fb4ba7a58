using System.Text.Json.Nodes;

namespace Nibble.Models;

/// <summary>How the vectors of a text's tokens become one, as sentence-transformers names it.</summary>
public enum Pooling
{
    /// <summary>Their mean, padding left out.</summary>
    Mean,

    /// <summary>The first token's.</summary>
    FirstToken,

    /// <summary>The greatest value of each channel, padding left out.</summary>
    Max,
}

/// <summary>What the head of a model is for, where its configuration does not say it in transformers' words.</summary>
/// <param name="Task">The task.</param>
/// <param name="Pooling">How an embedding is pooled.</param>
/// <param name="Normalizes">Whether an embedding is scaled to length 1.</param>
public sealed record TaskConfig(ModelTask Task, Pooling Pooling = Pooling.Mean, bool Normalizes = false)
{
    /// <summary>Where a <c>config.json</c> that Nibble has written says it.</summary>
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

    /// <summary>The names of the ways to pool.</summary>
    public static IReadOnlyList<string> PoolingNames => [.. Poolings.Values];

    /// <summary>The name of a task.</summary>
    public static string NameOf(ModelTask task) => Tasks[task];

    /// <summary>The name of a way to pool.</summary>
    public static string NameOf(Pooling pooling) => Poolings[pooling];

    /// <summary>The task of a name; null where there is none of it.</summary>
    public static ModelTask? TaskOf(string name) => Tasks.Where(pair => pair.Value == name).Select(pair => (ModelTask?)pair.Key).FirstOrDefault();

    /// <summary>The way to pool of a name; null where there is none of it.</summary>
    public static Pooling? PoolingOf(string name) => Poolings.Where(pair => pair.Value == name).Select(pair => (Pooling?)pair.Key).FirstOrDefault();

    /// <summary>The text of a <c>config.json</c> that says a task.</summary>
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

    /// <summary>What the text of a <c>config.json</c> says; null where it says nothing.</summary>
    public static TaskConfig? In(string configJson) => ConfigReader.Parse(configJson, "config.json", Read);

    /// <summary>What a configuration says; null where it says nothing.</summary>
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
