using Nibble.Tests.Files;
using System.Text;
using System.Runtime.InteropServices;
using System.Text.Json.Nodes;
using Nibble.Formats.HuggingFace;

namespace Nibble.Tests.Formats.HuggingFace.Tokenizers;

/// <summary>Hugging Face's own library, in Rust: what <c>tokenizer.json</c> means.</summary>
internal sealed class RustTokenizer : IDisposable
{
    private readonly global::Tokenizers.DotNet.Tokenizer tokenizer;

    /// <summary>Loads a file; skips the running test where the library has not been built for the machine.</summary>
    public RustTokenizer(string path)
    {
        Assert.SkipUnless(OperatingSystem.IsLinux() && RuntimeInformation.ProcessArchitecture == Architecture.X64,
            "needs Hugging Face's tokenizers, which the tests bring for Linux x64");
        tokenizer = new global::Tokenizers.DotNet.Tokenizer(path);
    }

    /// <summary>Writes a file, and reads it here and in Rust.</summary>
    public static (TextTokenizer Ours, RustTokenizer Theirs) Open(TemporaryFolder folder, JsonObject json)
    {
        folder.Write("tokenizer.json", json.ToJsonString());
        return (TextTokenizer.Load(folder.Path), new RustTokenizer(folder.File("tokenizer.json")));
    }

    /// <summary>The ids of a text, in which halves of characters are U+FFFD: the library takes no others.</summary>
    public int[] Encode(string text) => [.. tokenizer.Encode(Encoding.UTF8.GetString(Encoding.UTF8.GetBytes(text))).Select(id => (int)id)];

    /// <summary>The text of ids, without special tokens.</summary>
    public string Decode(IEnumerable<int> ids) => tokenizer.Decode([.. ids.Select(id => (uint)id)]);

    public void Dispose() => tokenizer.Dispose();
}
