namespace Nibble.Formats.HuggingFace;

/// <summary>The files of a checkpoint's tokenizer and of its generation settings, which are copied along with a model.</summary>
internal static class TokenizerFiles
{
    public const string SentencePiece = "tokenizer.model";
    public const string Json = "tokenizer.json";
    public const string Vocabulary = "vocab.txt";

    /// <summary>The names of all files that engines read to load a tokenizer or to generate text.</summary>
    public static IReadOnlyList<string> Names { get; } =
    [
        "added_tokens.json", "chat_template.jinja", GenerationConfig.FileName, "merges.txt", "special_tokens_map.json", Json, SentencePiece,
        "tokenizer_config.json", "vocab.json", Vocabulary,
    ];

    /// <summary>The paths of those files that a folder contains.</summary>
    public static IReadOnlyList<string> In(string folder) => [.. Names.Select(name => Path.Combine(folder, name)).Where(File.Exists)];
}
