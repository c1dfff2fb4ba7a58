using Nibble.Formats.HuggingFace.Tokenizers;

namespace Nibble.Formats.Gguf;

/// <summary>A way to split texts into words that is part of llama.cpp, which knows it by names.</summary>
/// <remarks>
/// Names, patterns and flags: ggml-org/llama.cpp, <c>src/llama-vocab.cpp</c> and <c>convert_hf_to_gguf_update.py</c>; patterns as they stand in
/// <c>tokenizer.json</c>.
/// </remarks>
/// <param name="Names">Its names, the one that is written first.</param>
/// <param name="Patterns">The regular expressions, one after the other.</param>
internal sealed record GgufPreTokenizer(string[] Names, params string[] Patterns)
{
    // Contractions, and what cl100k and its descendants have behind their words.
    private const string Contractions = "(?i:'s|'t|'re|'ve|'m|'ll|'d)";
    private const string Tail = @" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
    private const string SlashTail = @" ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
    private const string Words = @"[^\r\n\p{L}\p{N}]?\p{L}+";
    private const string LowerWords = @"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+";
    private const string UpperWords = @"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*";
    private const string Ideographs = "[\u4E00-\u9FA5\u3040-\u309F\u30A0-\u30FF]+";

    /// <summary>All that are known here.</summary>
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

    /// <summary>Whether a word that is a token becomes it, whatever merges would make of it.</summary>
    public bool IgnoresMerges { get; init; }

    /// <summary>Whether a text begins with a token that says so where the file does not tell.</summary>
    public bool AddsBos { get; init; }

    /// <summary>Whether llama.cpp's own form of the pattern does not count marks to words, as the pattern does.</summary>
    public bool LeavesMarksOut { get; init; }

    /// <summary>The name that is written.</summary>
    public string Name => Names[0];

    /// <summary>Those that split texts as some steps do.</summary>
    public static IEnumerable<GgufPreTokenizer> Of(IReadOnlyList<SplitStep> steps) =>
        All.Where(known => known.Patterns.SequenceEqual(steps.Select(step => Written(step.Pattern))));

    /// <summary>The one of a name; null for none known here.</summary>
    public static GgufPreTokenizer? Find(string? name) => All.FirstOrDefault(known => known.Names.Contains(name));

    // Some files hold line breaks where others hold what stands for them.
    private static string Written(string pattern) => pattern.Replace("\r", @"\r", StringComparison.Ordinal).Replace("\n", @"\n", StringComparison.Ordinal);
}
