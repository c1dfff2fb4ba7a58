using System.Text.Json.Nodes;
using Nibble.Cli.Comparison;
using Nibble.Cli.Engines;
using Nibble.Cli.Tests.Commands;
using Nibble.Formats.HuggingFace;
using Nibble.Tests.Shared;

namespace Nibble.Cli.Tests.Engines;

/// <summary>Whether llama.cpp splits texts into the same tokens as we do, given the file that we write; skipped where it is not installed.</summary>
[Collection(OneAtATime.Name)]
public sealed class LlamaCppTokenizerTests : IDisposable
{
    private const string Gpt2 = """{"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true,"use_regex":true}""";
    private const string Digits = """{"type":"Sequence","pretokenizers":[{"type":"Digits","individual_digits":true},{"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true,"use_regex":true}]}""";
    private const string Llama3 = """{"type":"Sequence","pretokenizers":[{"type":"Split","pattern":{"Regex":"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"},"behavior":"Isolated","invert":false},{"type":"ByteLevel","add_prefix_space":false,"use_regex":false}]}""";
    private const string Qwen2 = """{"type":"Sequence","pretokenizers":[{"type":"Split","pattern":{"Regex":"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"},"behavior":"Isolated","invert":false},{"type":"ByteLevel","add_prefix_space":false,"use_regex":false}]}""";

    // Tokens that show where words are split: they arise only inside of one.
    private static readonly string[] Merges = ["Ġ Ġ", "ĠĠ ĠĠ", "ĠĠ Ġ", "1 2", "12 3", "Ġ 1", "Ġ 12", "a 1", "! !", "Ċ Ċ", ". Ċ", "Ġ !", "' s"];

    private static readonly string[] Texts =
    [
        "Once upon a time", "12", "1234567", " 12 and 3", "a1b22c", "x  y   z    ", "    12", "a  1", "one!!  two!! 3!!", "line\n\n  next\n", "end.\n\n\n1", "it's He'S we'll", "½ ² Ⅷ ٣", "naïve 日本 🙂 12", " \n \n 1 ", "\t12\t\t3", "",
    ];

    private readonly TinyFolder folder = new();

    public void Dispose() => folder.Dispose();

    [Theory]
    [InlineData(Gpt2, "gpt-2")]
    [InlineData(Digits, "smollm")]
    [InlineData(Llama3, "llama-bpe")]
    [InlineData(Qwen2, "qwen2")]
    public async Task Texts_become_the_same_tokens(string preTokenizer, string name)
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
        root["pre_tokenizer"] = JsonNode.Parse(preTokenizer);
        Replace(root["model"]!["vocab"]!.AsObject(), root["model"]!["merges"]!.AsArray());
        await File.WriteAllTextAsync(json, root.ToJsonString(), TestContext.Current.CancellationToken);
        await CommandRun.Succeeds("export", model, "--to", "gguf", "-o", folder.At("words.gguf"));
        await CommandRun.Succeeds("import", folder.At("words.gguf"), "-o", folder.At("imported"));
        await CommandRun.Succeeds("export", folder.At("imported"), "--to", "gguf", "-o", folder.At("again.gguf"));

        Assert.Equal(name, (await CommandRun.Succeeds("inspect", folder.At("words.gguf"), "--json")).Json.GetProperty("metadata").GetProperty("tokenizer.ggml.pre").GetString());
        Assert.Equal(await File.ReadAllBytesAsync(folder.At("words.gguf"), TestContext.Current.CancellationToken), await File.ReadAllBytesAsync(folder.At("again.gguf"), TestContext.Current.CancellationToken));
        var tokenizer = TextTokenizer.Load(folder.At("imported"));
        using var engine = LlamaCppEngine.Start(libraries, folder.At("words.gguf"), 64, 1);
        foreach (var text in Texts)
        {
            Assert.Equal([tokenizer.BosId!.Value, .. tokenizer.Encode(text)], engine.Encode(text));
        }
    }

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
