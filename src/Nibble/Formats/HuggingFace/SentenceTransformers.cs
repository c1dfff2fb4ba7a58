using System.Text;
using System.Text.Json;
using Nibble.Files;
using Nibble.Models;

namespace Nibble.Formats.HuggingFace;

/// <summary>The sentence-transformers files next to a checkpoint. <c>modules.json</c> lists the modules after the encoder, and <c>1_Pooling/config.json</c>
/// describes how tokens are pooled.</summary>
internal static class SentenceTransformers
{
    private const string ModulesName = "modules.json";
    private const string ConfigName = "config.json";

    private static readonly Dictionary<string, Pooling> Modes = new(StringComparer.Ordinal)
    {
        ["pooling_mode_mean_tokens"] = Pooling.Mean,
        ["pooling_mode_cls_token"] = Pooling.FirstToken,
        ["pooling_mode_max_tokens"] = Pooling.Max,
    };

    /// <summary>Reads the files; null if the folder does not have them.</summary>
    /// <param name="folder">A model's folder.</param>
    /// <exception cref="NibbleException">The files are broken or use an unsupported feature.</exception>
    public static TaskConfig? Read(string folder)
    {
        var path = Path.Combine(folder, ModulesName);
        if (!File.Exists(path))
        {
            return null;
        }

        var task = new TaskConfig(ModelTask.Embedding);
        try
        {
            using var modules = JsonDocument.Parse(InputFile.ReadText(path));
            foreach (var module in modules.RootElement.EnumerateArray())
            {
                var type = module.GetProperty("type").GetString() ?? throw new JsonException("a type is null");
                task = type[(type.LastIndexOf('.') + 1)..] switch
                {
                    "Transformer" => task,
                    "Pooling" => task with { Pooling = ReadPooling(Path.Combine(folder, Inside(module, path), ConfigName)) },
                    "Normalize" => task with { Normalizes = true },
                    _ => throw new NibbleException($"{path}: a module of type '{type}' is not supported; expected Transformer, Pooling or Normalize"),
                };
            }

            return task;
        }
        catch (Exception exception) when (exception is JsonException or InvalidOperationException or KeyNotFoundException)
        {
            throw new NibbleException($"{path}: expected a list of modules with a type and a path ({exception.Message})", exception);
        }
    }

    /// <summary>Writes the files next to the configuration of an embedding model. Writes nothing for other models.</summary>
    /// <param name="folder">The folder.</param>
    /// <param name="configJson">The text of the configuration.</param>
    internal static void Write(string folder, string configJson)
    {
        if (TaskConfig.In(configJson) is not { Task: ModelTask.Embedding } task)
        {
            return;
        }

        var width = ModelFamilies.Parse(configJson, ConfigName).HiddenSize;
        Directory.CreateDirectory(Path.Combine(folder, "1_Pooling"));
        var modes = Modes.Select(mode => $"  \"{mode.Key}\": {(mode.Value == task.Pooling ? "true" : "false")}");
        Save(Path.Combine(folder, "1_Pooling", ConfigName), $"{{\n  \"word_embedding_dimension\": {width},\n{string.Join(",\n", modes)}\n}}\n");
        var lines = new List<string> { Line(0, "", "Transformer"), Line(1, "1_Pooling", "Pooling") };
        if (task.Normalizes)
        {
            lines.Add(Line(2, "2_Normalize", "Normalize"));
        }

        Save(Path.Combine(folder, ModulesName), $"[\n{string.Join(",\n", lines)}\n]\n");

        static string Line(int number, string path, string type) =>
            $"  {{\"idx\": {number}, \"name\": \"{number}\", \"path\": \"{path}\", \"type\": \"sentence_transformers.models.{type}\"}}";

        static void Save(string path, string text) => AtomicFile.Write(path, stream => stream.Write(Encoding.UTF8.GetBytes(text)));
    }

    private static string Inside(JsonElement module, string path)
    {
        var inside = module.GetProperty("path").GetString() ?? throw new JsonException("a path is null");
        return Path.IsPathRooted(inside) || inside.Split('/', '\\').Contains("..")
            ? throw new NibbleException($"{path}: the module's path '{inside}' leads out of the folder, expected a folder inside it")
            : inside;
    }

    private static Pooling ReadPooling(string path)
    {
        var set = new List<string>();
        try
        {
            using var config = JsonDocument.Parse(InputFile.ReadText(path));
            set.AddRange(config.RootElement.EnumerateObject().Where(mode => mode.Name.StartsWith("pooling_mode_", StringComparison.Ordinal)
                && mode.Value.ValueKind == JsonValueKind.True).Select(mode => mode.Name));
        }
        catch (Exception exception) when (exception is JsonException or InvalidOperationException)
        {
            throw new NibbleException($"{path}: expected a JSON object with pooling modes ({exception.Message})", exception);
        }

        return set is [var only] && Modes.TryGetValue(only, out var pooling)
            ? pooling
            : throw new NibbleException(
                $"{path}: found {(set.Count == 0 ? "no pooling mode" : string.Join(" and ", set))}, expected one of {string.Join(", ", Modes.Keys)}");
    }
}
