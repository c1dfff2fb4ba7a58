using Nibble.Formats.HuggingFace.Tokenizers;

namespace Nibble.Formats.Gguf;

/// <summary>A way to split text into words that llama.cpp implements and identifies by name.</summary>
/// <remarks>
/// Names, patterns and flags: ggml-org/llama.cpp, <c>src/llama-vocab.cpp</c> and <c>convert_hf_to_gguf_update.py</c>. Patterns are written as in
/// <c>tokenizer.json</c>.
/// </remarks>
/// <param name="Names">Its names. Nibble writes the first.</param>
/// <param name="Patterns">The regular expressions, in order.</param>
internal sealed record GgufPreTokenizer(string[] Names, params string[] Patterns)
{
    // Contractions, and the part of the pattern after the words in cl100k and its descendants.
    private const string Contractions = "(?i:'s|'t|'re|'ve|'m|'ll|'d)";
    private const string Tail = @" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
    private const string SlashTail = @" ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
    private const string Words = @"[^\r\n\p{L}\p{N}]?\p{L}+";
    private const string LowerWords = @"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+";
    private const string UpperWords = @"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*";
    private const string Ideographs = "[\u4E00-\u9FA5\u3040-\u309F\u30A0-\u30FF]+";

    /// <summary>All pre-tokenizers that Nibble knows.</summary>
    public static IReadOnlyList<GgufPreTokenizer> All { get; } =
    [
        new(["gpt-2", "phi-2", "olmo", "mpt", "jais", "trillion", "granite-docling", "gigachat", "a.x-4.0", "mellum", "modern-bert", "exaone4"],
            TokenizerJson.Gpt2Pattern),
        new(["smollm", "command-r", "starcoder", "refact", "codeshell", "exaone", "minerva-7b", "mellum2"], TokenizerJson.DigitPattern,
            TokenizerJson.Gpt2Pattern),
        new(["llama-bpe", "llama3", "llama-v3", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2"],
            $@"{Contractions}|{Words}|\p{{N}}{{1,3}}|{Tail}") { IgnoresMerges = true, AddsBos = true },
        new(["dbrx", "smaug-bpe", "glm4", "chatglm-bpe"], $@"{Contractions}|{Words}|\p{{N}}{{1,3}}|{Tail}"),
        new(["qwen2", "deepseek-r1-qwen", "stablelm2", "hunyuan", "solar-open", "megrez", "kormo", "f2llmv2", "grok-2"],
            $@"{Contractions}|{Words}|\p{{N}}|{Tail}"),
        new(["qwen35"], $@"{Contractions}|[^\r\n\p{{L}}\p{{N}}]?[\p{{L}}\p{{M}}]+|\p{{N}}| ?[^\s\p{{L}}\p{{M}}\p{{N}}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"),
        new(["tekken"], $@"{LowerWords}|{UpperWords}|\p{{N}}|{SlashTail}") { IgnoresMerges = true, AddsBos = true, LeavesMarksOut = true },
        new(["gpt-4o", "llama4", "kanana2", "minimax-m2"],
            $@"{LowerWords}{Contractions}?|{UpperWords}{Contractions}?|\p{{N}}{{1,3}}|{SlashTail}") { LeavesMarksOut = true },
        new(
            ["deepseek-v3", "hunyuan-dense", "joyai-llm"],
            @"\p{N}{1,3}",
            Ideographs,
            @"[!""#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"),
        new(["deepseek-coder"], @"[\r\n]", @"\s?\p{L}+", @"\s?\p{P}+", "[\u4E00-\u9FA5\u0800-\u4E00\uAC00-\uD7FF]+", TokenizerJson.DigitPattern),
    ];

    /// <summary>Whether a word that is a token becomes that token regardless of merges.</summary>
    public bool IgnoresMerges { get; init; }

    /// <summary>Whether text starts with a beginning token if the file does not specify it.</summary>
    public bool AddsBos { get; init; }

    /// <summary>Whether llama.cpp's form of the pattern excludes combining marks from words, unlike the pattern itself.</summary>
    public bool LeavesMarksOut { get; init; }

    /// <summary>The name that Nibble writes.</summary>
    public string Name => Names[0];

    /// <summary>The pre-tokenizers that split text by the given steps.</summary>
    public static IEnumerable<GgufPreTokenizer> Of(IReadOnlyList<SplitStep> steps) =>
        All.Where(known => known.Patterns.SequenceEqual(steps.Select(step => Written(step.Pattern))));

    /// <summary>Finds a pre-tokenizer by name; null if Nibble does not know it.</summary>
    public static GgufPreTokenizer? Find(string? name) => All.FirstOrDefault(known => known.Names.Contains(name));

    // Some files contain line breaks where others contain the escapes for them.
    private static string Written(string pattern) => pattern.Replace("\r", @"\r", StringComparison.Ordinal).Replace("\n", @"\n", StringComparison.Ordinal);
}
