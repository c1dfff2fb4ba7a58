using System.Text.Json;
using Nibble.Files;

namespace Nibble.Formats.HuggingFace;

/// <summary>Reads the JSON files of a checkpoint.</summary>
internal static class JsonFile
{
    // The largest tokenizer.json in use has about 35 MB.
    private const long MaxBytes = 1L << 28;

    private static ReadOnlySpan<byte> ByteOrderMark => [0xEF, 0xBB, 0xBF];

    private static readonly JsonDocumentOptions Options = new() { MaxDepth = 64 };

    /// <summary>Reads a file that must contain a JSON object.</summary>
    /// <exception cref="NibbleException">The file is missing, too large, not JSON or not an object.</exception>
    public static JsonDocument ReadObject(string path)
    {
        if (!File.Exists(path))
        {
            throw new NibbleException($"There is no file {path}, which every checkpoint needs.");
        }

        InputFile.RequireRegular(path);
        var length = InputFile.Length(path);
        if (length > MaxBytes)
        {
            throw new NibbleException($"{path} has {length} bytes; expected at most {MaxBytes}.");
        }

        return ParseObject(File.ReadAllBytes(path), path);
    }

    /// <summary>Parses bytes that must be a JSON object.</summary>
    /// <param name="bytes">The bytes.</param>
    /// <param name="path">The origin of the bytes, for messages.</param>
    /// <exception cref="NibbleException">The bytes are not JSON or not an object.</exception>
    public static JsonDocument ParseObject(byte[] bytes, string path)
    {
        // The parser validates the bytes of a string only when the string is read.
        Utf8Text.Require(bytes, path);

        try
        {
            var document = JsonDocument.Parse(bytes.AsMemory(bytes.AsSpan().StartsWith(ByteOrderMark) ? ByteOrderMark.Length : 0), Options);
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
