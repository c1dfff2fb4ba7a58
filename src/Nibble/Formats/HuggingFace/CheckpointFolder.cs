using System.Text.Json;
using Nibble.Files;
using Nibble.Recipes;

namespace Nibble.Formats.HuggingFace;

/// <summary>Writes the folder of a checkpoint, which appears only when it is complete.</summary>
internal static class CheckpointFolder
{
    /// <summary>The metadata of a weight file, which tells PyTorch how to load it.</summary>
    public static readonly Dictionary<string, string> Metadata = new() { ["format"] = "pt" };

    /// <summary>Creates a folder with a tokenizer's files and the files that <paramref name="write"/> adds.</summary>
    /// <param name="folder">The folder to create.</param>
    /// <param name="tokenizerFolder">The folder with the tokenizer files; empty for a model that does not read text.</param>
    /// <param name="write">Writes the other files into the folder that it receives.</param>
    /// <exception cref="NibbleException">The folder already exists, or the tokenizer's folder does not.</exception>
    public static void Create(string folder, string tokenizerFolder, Action<string> write)
    {
        ArgumentNullException.ThrowIfNull(folder);
        if (tokenizerFolder.Length > 0 && !Directory.Exists(tokenizerFolder))
        {
            throw new NibbleException($"The tokenizer's folder {tokenizerFolder} does not exist.");
        }

        AtomicFile.MakeFolder(folder, temporary =>
        {
            foreach (var path in tokenizerFolder.Length > 0 ? TokenizerFiles.In(tokenizerFolder) : [])
            {
                AtomicFile.Write(Path.Combine(temporary, Path.GetFileName(path)), stream =>
                {
                    using var tokenizer = File.OpenRead(path);
                    tokenizer.CopyTo(stream);
                });
            }

            write(temporary);
        });
    }

    /// <summary>Writes a JSON file.</summary>
    public static void WriteJson(string path, Action<Utf8JsonWriter> write) => AtomicFile.Write(path, stream =>
    {
        using var writer = new Utf8JsonWriter(stream, RecipeFile.JsonOptions);
        write(writer);
    });

    /// <summary>Writes a <c>config.json</c>: the model's own, with another <c>quantization_config</c>.</summary>
    /// <param name="folder">The checkpoint's folder.</param>
    /// <param name="configJson">The text of the model's <c>config.json</c>.</param>
    /// <param name="writeQuantization">Writes the value of <c>quantization_config</c>. It also receives the model's configuration.</param>
    public static void WriteConfig(string folder, string configJson, Action<Utf8JsonWriter, JsonElement> writeQuantization)
    {
        SentenceTransformers.Write(folder, configJson);
        WriteJson(Path.Combine(folder, Checkpoint.ConfigName), writer => WriteConfig(writer, configJson, writeQuantization));
    }

    private static void WriteConfig(Utf8JsonWriter writer, string configJson, Action<Utf8JsonWriter, JsonElement> writeQuantization)
    {
        using var config = JsonDocument.Parse(configJson);
        writer.WriteStartObject();
        foreach (var property in config.RootElement.EnumerateObject().Where(property => property.Name != Checkpoint.QuantizationKey))
        {
            property.WriteTo(writer);
        }

        writer.WritePropertyName(Checkpoint.QuantizationKey);
        writeQuantization(writer, config.RootElement);
        writer.WriteEndObject();
    }
}
