using System.Text.Json;

namespace Nibble.Formats.HuggingFace;

/// <summary>Reads the JSON files of a checkpoint.</summary>
internal static class JsonFile
{
    // The largest tokenizer.json in use is some 35 MB.
    private const long MaxBytes = 1L << 28;

    private static readonly JsonDocumentOptions Options = new() { MaxDepth = 64 };

    /// <summary>Reads a file that must hold a JSON object.</summary>
    /// <exception cref="NibbleException">The file is missing, too large, not JSON or not an object.</exception>
    public static JsonDocument ReadObject(string path)
    {
        if (!File.Exists(path))
        {
            throw new NibbleException($"There is no file {path}, which belongs to every checkpoint.");
        }

        using var stream = File.OpenRead(path);
        if (stream.Length > MaxBytes)
        {
            throw new NibbleException($"{path} has {stream.Length} bytes; expected at most {MaxBytes}.");
        }

        try
        {
            var document = JsonDocument.Parse(stream, Options);
            if (document.RootElement.ValueKind == JsonValueKind.Object)
            {
                return document;
            }

            var found = document.RootElement.ValueKind;
            document.Dispose();
            throw new NibbleException($"{path}: expected a JSON object, found {found}.");
        }
        catch (JsonException exception)
        {
            throw new NibbleException($"{path} is not valid JSON: {exception.Message}", exception);
        }
    }
}
