namespace Nibble.Formats.HuggingFace;

/// <summary>The files that make up a checkpoint's tokenizer and say how text is generated: what travels with a model wherever it goes.</summary>
internal static class TokenizerFiles
{
    public const string SentencePiece = "tokenizer.model";
    public const string Json = "tokenizer.json";
    public const string Vocabulary = "vocab.txt";

    /// <summary>Every file name that engines look for when they load a tokenizer, or begin to generate.</summary>
    public static IReadOnlyList<string> Names { get; } =
    [
        "added_tokens.json", "chat_template.jinja", GenerationConfig.FileName, "merges.txt", "special_tokens_map.json", Json, SentencePiece,
        "tokenizer_config.json", "vocab.json", Vocabulary,
    ];

    /// <summary>The paths of those that a folder holds.</summary>
    public static IReadOnlyList<string> In(string folder) => [.. Names.Select(name => Path.Combine(folder, name)).Where(File.Exists)];
}
