using System.Text.Json.Nodes;
using Nibble.Cli.Comparison;
using Nibble.Cli.Engines;
using Nibble.Cli.Tests.Commands;
using Nibble.Formats.Gguf;
using Nibble.Formats.HuggingFace;
using Nibble.Tests.Formats.HuggingFace.Tokenizers;
using Nibble.Tests.Shared;

namespace Nibble.Cli.Tests.Engines;

/// <summary>Whether llama.cpp splits texts into the same tokens as we do, given the file that we write; skipped where it is not installed.</summary>
[Collection(OneAtATime.Name)]
public sealed class LlamaCppTokenizerTests : IDisposable
{
    // Tokens that show where words are split: they arise only inside of one.
    private static readonly string[] Merges = ["Ġ Ġ", "ĠĠ ĠĠ", "ĠĠ Ġ", "1 2", "12 3", "Ġ 1", "Ġ 12", "a 1", "! !", "Ċ Ċ", ". Ċ", "Ġ !", "' s"];

    private static readonly string[] Texts =
    [
        "Once upon a time", "12", "1234567", " 12 and 3", "a1b22c", "x  y   z    ", "    12", "a  1", "one!!  two!! 3!!", "line\n\n  next\n", "end.\n\n\n1",
        "it's He'S we'll", "½ ² Ⅷ ٣", "naïve 日本 🙂 12", " \n \n 1 ", "\t12\t\t3", "",
    ];

    private readonly TinyFolder folder = new();

    public void Dispose() => folder.Dispose();

    [Theory]
    [InlineData("gpt-2")]
    [InlineData("smollm")]
    [InlineData("llama-bpe")]
    [InlineData("dbrx", "xyzzy")]
    [InlineData("qwen2")]
    [InlineData("qwen35")]
    [InlineData("tekken")]
    [InlineData("gpt-4o")]
    [InlineData("deepseek-v3")]
    [InlineData("deepseek-coder")]
    public async Task TextsBecomeTheSameTokens(string name, string? unreachable = null)
    {
        var libraries = LlamaCpp.RequireFolder();
        var model = folder.At("model-of-words");
        Directory.CreateDirectory(model);
        foreach (var path in Directory.GetFiles(BuiltInModel.Folder))
        {
            File.Copy(path, Path.Combine(model, Path.GetFileName(path)));
        }

        var json = Path.Combine(model, "tokenizer.json");
        var root = JsonNode.Parse(await File.ReadAllTextAsync(json, TestContext.Current.CancellationToken))!;
        var known = GgufPreTokenizer.Find(name)!;
        root["pre_tokenizer"] = JsonNode.Parse(TinyTokenizers.Splits(known.Patterns));
        root["model"]!["ignore_merges"] = known.IgnoresMerges;
        Replace(root["model"]!["vocab"]!.AsObject(), root["model"]!["merges"]!.AsArray());
        if (unreachable is not null)
        {
            // A token that no merge makes tells apart what is done with words that are tokens.
            var vocabulary = root["model"]!["vocab"]!.AsObject();
            var id = vocabulary["'s"]!.GetValue<int>();
            vocabulary.Remove("'s");
            vocabulary[unreachable] = id;
            var merges = root["model"]!["merges"]!.AsArray();
            for (var i = merges.Count - 1; i >= 0; i--)
            {
                if (merges[i]!.GetValue<string>().Split(' ') is var parts && (string.Concat(parts) == "'s" || parts.Contains("'s")))
                {
                    merges.RemoveAt(i);
                }
            }
        }

        await File.WriteAllTextAsync(json, root.ToJsonString(), TestContext.Current.CancellationToken);
        await CommandRun.Succeeds("export", model, "--to", "gguf", "-o", folder.At("words.gguf"));
        await CommandRun.Succeeds("import", folder.At("words.gguf"), "-o", folder.At("imported"));
        await CommandRun.Succeeds("export", folder.At("imported"), "--to", "gguf", "-o", folder.At("again.gguf"));

        Assert.Equal(name, (await CommandRun.Succeeds("inspect", folder.At("words.gguf"), "--json")).Json.GetProperty("metadata")
            .GetProperty("tokenizer.ggml.pre").GetString());
        Assert.Equal(await File.ReadAllBytesAsync(folder.At("words.gguf"), TestContext.Current.CancellationToken),
            await File.ReadAllBytesAsync(folder.At("again.gguf"), TestContext.Current.CancellationToken));
        var tokenizer = TextTokenizer.Load(folder.At("imported"));
        using var engine = LlamaCppEngine.Start(libraries, folder.At("words.gguf"), 64, 1);

        // llama.cpp's own forms of some patterns count no marks to words, which the export says.
        foreach (var text in Texts.Concat(known.LeavesMarksOut ? TinyTokenizers.Texts.Where(text => !text.Any(IsMark)) : TinyTokenizers.Texts)
            .Where(text => !text.Contains('\0', StringComparison.Ordinal)))
        {
            Assert.Equal([tokenizer.StartId!.Value, .. tokenizer.Encode(text)], engine.Encode(text));
        }
    }

    /// <summary>SentencePiece, whose merges are a list in the folder and scores in the file; also without tokens before texts.</summary>
    [Theory]
    [InlineData("""{"type":"Sequence","normalizers":[{"type":"Prepend","prepend":"▁"},{"type":"Replace","pattern":{"String":" "},"content":"▁"}]}""", true)]
    [InlineData("""{"type":"Replace","pattern":{"String":" "},"content":"▁"}""", false)]
    public async Task TextsBecomeTheSamePieces(string normalizer, bool adds)
    {
        var libraries = LlamaCpp.RequireFolder();
        var json = TinyTokenizers.SentencePiece(normalizer);
        var size = json["model"]!["vocab"]!.AsObject().Count;
        File.WriteAllText(Path.Combine(folder.Model, "tokenizer.json"), json.ToJsonString());
        File.WriteAllText(Path.Combine(folder.Model, "tokenizer_config.json"),
            $$"""{"bos_token":"<s>","eos_token":"</s>","add_bos_token":{{(adds ? "true" : "false")}}}""");
        folder.WriteConfig("llama", vocabulary: size);
        folder.WriteWeights(_ => true, vocabulary: size);
        await CommandRun.Succeeds("export", folder.Model, "--to", "gguf", "-o", folder.At("pieces.gguf"));
        await CommandRun.Succeeds("import", folder.At("pieces.gguf"), "-o", folder.At("imported"));
        await CommandRun.Succeeds("export", folder.At("imported"), "--to", "gguf", "-o", folder.At("again.gguf"));
        Assert.Equal(await File.ReadAllBytesAsync(folder.At("pieces.gguf"), TestContext.Current.CancellationToken),
            await File.ReadAllBytesAsync(folder.At("again.gguf"), TestContext.Current.CancellationToken));
        var (listed, scored) = (TextTokenizer.Load(folder.Model), TextTokenizer.Load(folder.At("imported")));
        using var engine = LlamaCppEngine.Start(libraries, folder.At("pieces.gguf"), 64, 1);
        foreach (var text in Texts.Concat(TinyTokenizers.Texts).Where(text => !text.Contains('\0', StringComparison.Ordinal)))
        {
            int[] expected = [.. listed.StartId is { } start ? [start] : Array.Empty<int>(), .. listed.Encode(text)];
            Assert.Equal(adds, listed.StartId is not null);
            Assert.Equal(expected, engine.Encode(text));
            Assert.Equal(listed.Encode(text), scored.Encode(text));
        }
    }

    private static bool IsMark(char character) => char.GetUnicodeCategory(character)
        is System.Globalization.UnicodeCategory.NonSpacingMark or System.Globalization.UnicodeCategory.SpacingCombiningMark
            or System.Globalization.UnicodeCategory.EnclosingMark;

    /// <summary>The last merges make room, since nothing is made of what they make.</summary>
    private static void Replace(JsonObject vocabulary, JsonArray merges)
    {
        for (var i = 0; i < Merges.Length; i++)
        {
            var last = merges[merges.Count - 1 - i]!.GetValue<string>();
            var id = vocabulary[last.Replace(" ", string.Empty, StringComparison.Ordinal)]!.GetValue<int>();
            vocabulary.Remove(last.Replace(" ", string.Empty, StringComparison.Ordinal));
            vocabulary[Merges[Merges.Length - 1 - i].Replace(" ", string.Empty, StringComparison.Ordinal)] = id;
            merges[merges.Count - 1 - i] = Merges[Merges.Length - 1 - i];
        }
    }
}
