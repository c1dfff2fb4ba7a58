using System.Text.Json;

namespace Nibble.Formats.HuggingFace.Tokenizers;

/// <summary>Writes byte-level BPE as <c>tokenizer.json</c>.</summary>
internal static class TokenizerJsonWriter
{
    /// <summary>Writes a file.</summary>
    /// <param name="path">The file.</param>
    /// <param name="pairs">The parts of the tokenizer.</param>
    /// <param name="added">The added tokens.</param>
    /// <param name="start">The token added before text; null for none.</param>
    /// <param name="end">The token added after text; null for none.</param>
    public static void Write(string path, BytePairs pairs, IReadOnlyList<AddedToken> added, AddedToken? start, AddedToken? end) =>
        CheckpointFolder.WriteJson(path, writer =>
    {
        writer.WriteStartObject();
        writer.WriteString("version", "1.0");
        writer.WriteStartArray("added_tokens");
        foreach (var token in added)
        {
            writer.WriteStartObject();
            writer.WriteNumber("id", token.Id);
            writer.WriteString("content", token.Text);
            foreach (var trait in (string[])["single_word", "lstrip", "rstrip", "normalized"])
            {
                writer.WriteBoolean(trait, false);
            }

            writer.WriteBoolean("special", token.Special);
            writer.WriteEndObject();
        }

        writer.WriteEndArray();
        writer.WriteNull("normalizer");
        writer.WritePropertyName("pre_tokenizer");
        WriteSteps(writer, pairs.Steps);
        writer.WritePropertyName("post_processor");
        WriteTemplate(writer, start, end);
        writer.WritePropertyName("decoder");
        WriteByteLevel(writer, splits: true);
        writer.WriteStartObject("model");
        writer.WriteString("type", "BPE");
        writer.WriteBoolean("ignore_merges", pairs.IgnoresMerges);
        writer.WriteStartObject("vocab");
        foreach (var (token, id) in pairs.Vocabulary.OrderBy(pair => pair.Value))
        {
            writer.WriteNumber(token, id);
        }

        writer.WriteEndObject();
        writer.WriteStartArray("merges");
        foreach (var (left, right) in pairs.Merges)
        {
            writer.WriteStringValue($"{left} {right}");
        }

        writer.WriteEndArray();
        writer.WriteEndObject();
        writer.WriteEndObject();
    });

    private static void WriteSteps(Utf8JsonWriter writer, IReadOnlyList<SplitStep> steps)
    {
        writer.WriteStartObject();
        writer.WriteString("type", "Sequence");
        writer.WriteStartArray("pretokenizers");
        foreach (var step in steps)
        {
            writer.WriteStartObject();
            writer.WriteString("type", "Split");
            writer.WriteStartObject("pattern");
            writer.WriteString("Regex", step.Pattern);
            writer.WriteEndObject();
            writer.WriteString("behavior", "Isolated");
            writer.WriteBoolean("invert", false);
            writer.WriteEndObject();
        }

        WriteByteLevel(writer, splits: false);
        writer.WriteEndArray();
        writer.WriteEndObject();
    }

    private static void WriteTemplate(Utf8JsonWriter writer, AddedToken? start, AddedToken? end)
    {
        if (start is null && end is null)
        {
            writer.WriteNullValue();
            return;
        }

        writer.WriteStartObject();
        writer.WriteString("type", "TemplateProcessing");
        foreach (var (key, texts) in ((string, string[])[])[("single", ["A"]), ("pair", ["A", "B"])])
        {
            writer.WriteStartArray(key);
            for (var i = 0; i < texts.Length; i++)
            {
                WritePiece(start?.Text, "SpecialToken", i);
                WritePiece(texts[i], "Sequence", i);
                WritePiece(end?.Text, "SpecialToken", i);
            }

            writer.WriteEndArray();
        }

        writer.WriteStartObject("special_tokens");
        foreach (var token in new[] { start, end }.OfType<AddedToken>().DistinctBy(token => token.Id))
        {
            writer.WriteStartObject(token.Text);
            writer.WriteString("id", token.Text);
            writer.WriteStartArray("ids");
            writer.WriteNumberValue(token.Id);
            writer.WriteEndArray();
            writer.WriteStartArray("tokens");
            writer.WriteStringValue(token.Text);
            writer.WriteEndArray();
            writer.WriteEndObject();
        }

        writer.WriteEndObject();
        writer.WriteEndObject();

        void WritePiece(string? id, string kind, int part)
        {
            if (id is null)
            {
                return;
            }

            writer.WriteStartObject();
            writer.WriteStartObject(kind);
            writer.WriteString("id", id);
            writer.WriteNumber("type_id", part);
            writer.WriteEndObject();
            writer.WriteEndObject();
        }
    }

    private static void WriteByteLevel(Utf8JsonWriter writer, bool splits)
    {
        writer.WriteStartObject();
        writer.WriteString("type", "ByteLevel");
        writer.WriteBoolean("add_prefix_space", false);
        writer.WriteBoolean("trim_offsets", true);
        writer.WriteBoolean("use_regex", splits);
        writer.WriteEndObject();
    }
}
