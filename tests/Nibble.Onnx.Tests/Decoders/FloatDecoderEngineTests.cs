using Nibble.Files;
using Nibble.Torch.Models;
using System.Globalization;
using Nibble.Onnx.Engine;
using Nibble.Onnx.Graphs;
using Nibble.Onnx.Tests.Shared;
using Nibble.Torch.Tests.Shared;

namespace Nibble.Onnx.Tests.Decoders;

/// <summary>Float decoders in ONNX Runtime.</summary>
public sealed class FloatDecoderEngineTests : IDisposable
{
    private const float Rounding = 2e-5f;

    private readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    [Theory]
    [InlineData("llama", false, "")]
    [InlineData("llama", true, "")]
    [InlineData("llama", false, ""","attention_bias":true,"mlp_bias":true""")]
    [InlineData("llama", false, ""","rope_scaling":{"rope_type":"llama3","factor":4,"low_freq_factor":1,"high_freq_factor":4,"original_max_position_embeddings":16}""")]
    [InlineData("llama", false, ""","rope_scaling":{"rope_type":"linear","factor":2}""")]
    [InlineData("qwen2", true, "")]
    [InlineData("qwen3", false, "")]
    [InlineData("mistral", false, ""","sliding_window":40""")]
    public void LogitsAreThoseOfTheSimulation(string type, bool tied, string further)
    {
        using var both = BothWays.Open(new TinyLlama { Type = type, Tied = tied, Further = further }.Write(folder.File("tiny")), folder);
        Assert.InRange(both.Difference(Tokens(33)), 0, Rounding);
    }

    [Theory]
    [InlineData(ElementType.F16)]
    [InlineData(ElementType.BF16)]
    public void NarrowTensorsStayNarrowInTheFileAndAreWidenedExactly(ElementType type)
    {
        using var both = BothWays.Open(new TinyLlama { StoredAs = type }.Write(folder.File("tiny")), folder, inlineLimit: 0);
        Assert.InRange(both.Difference(Tokens(20)), 0, Rounding);

        // The tensors' file is aligned to 64 KiB, so lengths say nothing; the largest tensor is the embedding.
        var tensors = ModelProto.Parser.ParseFrom(File.ReadAllBytes(both.Path)).Graph.Initializer;
        var embedding = tensors.Single(tensor => tensor.Name == "model.embed_tokens.weight").ExternalData.Single(entry => entry.Key == "length").Value;
        Assert.Equal(TinyLlama.Vocabulary * TinyLlama.Hidden * 2, int.Parse(embedding, CultureInfo.InvariantCulture));
    }

    [Fact]
    public void CacheGivesTheLogitsOfTheWholeSequence()
    {
        using var both = BothWays.Open(new TinyLlama().Write(folder.File("tiny")), folder);
        var tokens = Tokens(12);
        using var cache = new DecoderCache();
        float[] found = [.. both.Engine.Advance(tokens.AsSpan(0, 5), cache), .. both.Engine.Advance(tokens.AsSpan(5, 1), cache),
            .. both.Engine.Advance(tokens.AsSpan(6), cache)];
        Assert.Equal(12, cache.Length);
        Assert.InRange(BothWays.Difference(both.Simulate(tokens), found), 0, Rounding);
    }

    [Fact]
    public void SlidingWindowForgetsWhatLiesBeforeIt()
    {
        // What one block computes for the last position depends on the window alone, and rotary positions only on distances.
        const string Window = ""","sliding_window":6""";
        var one = new TinyLlama { Type = "mistral", Further = Window };
        var path = one.Write(folder.File("tiny"), tensors =>
        {
            foreach (var name in tensors.Keys.Where(name => name.StartsWith("model.layers.1.", StringComparison.Ordinal)).ToList())
            {
                tensors.Remove(name);
            }
        });
        File.WriteAllText(Path.Combine(path, "config.json"),
            one.ConfigJson.Replace("\"num_hidden_layers\":2", "\"num_hidden_layers\":1", StringComparison.Ordinal));
        using var both = BothWays.Open(path, folder);
        var tokens = Tokens(20);
        var last = both.Engine.Score(tokens)[^TinyLlama.Vocabulary..];
        Assert.InRange(BothWays.Difference(both.Simulate(tokens[^6..])[^TinyLlama.Vocabulary..], last), 0, Rounding);
        Assert.True(BothWays.Difference(both.Simulate(tokens[^5..])[^TinyLlama.Vocabulary..], last) > 100 * Rounding);
    }

    [Fact]
    public void ExternalDataHoldsTheTensors()
    {
        using var both = BothWays.Open(new TinyLlama().Write(folder.File("tiny")), folder, inlineLimit: 10_000);
        Assert.True(new FileInfo(both.Path + ".data").Length > both.Simulated.Model.ParameterCount() * 3);
        Assert.InRange(new FileInfo(both.Path).Length, 1, 60_000);
        Assert.InRange(both.Difference(Tokens(20)), 0, Rounding);
    }

    [Fact]
    public void SameModelGivesTheSameBytes()
    {
        var model = new TinyLlama().Write(folder.File("tiny"));
        BothWays.Export(model, folder.File("a.onnx"));
        BothWays.Export(model, folder.File("b.onnx"));
        Assert.Equal(File.ReadAllBytes(folder.File("a.onnx")), File.ReadAllBytes(folder.File("b.onnx")));
    }

    [Fact]
    public void ContinueWritesWhatTheLogitsSay()
    {
        using var both = BothWays.Open(new TinyLlama().Write(folder.File("tiny")), folder);
        List<int> expected = [.. Tokens(4)];
        for (var i = 0; i < 10; i++)
        {
            var last = both.Simulate([.. expected])[^TinyLlama.Vocabulary..];
            expected.Add(Array.IndexOf(last, last.Max()));
        }

        Assert.Equal(expected.Skip(4), both.Engine.Continue(Tokens(4), 10));
    }

    [Fact]
    public void MissingOrForeignTensorsAreNamed()
    {
        var lacking = new TinyLlama().Write(folder.File("lacking"), tensors => tensors.Remove("model.norm.weight"));
        Assert.Contains("'model.norm.weight' is missing", Message(lacking), StringComparison.Ordinal);
        var foreign = new TinyLlama().Write(folder.File("foreign"), tensors => tensors.Add("model.extra.weight", ([2], [1, 2])));
        Assert.Contains("holds 'model.extra.weight'", Message(foreign), StringComparison.Ordinal);
        var wide = new TinyLlama().Write(folder.File("wide"), tensors => tensors["model.norm.weight"] = ([3], [1, 2, 3]));
        Assert.Contains("has shape [3], expected [16]", Message(wide), StringComparison.Ordinal);
        Assert.False(File.Exists(folder.File("refused.onnx")));
    }

    [Fact]
    public void EngineRefusesWhatIsNoDecoder()
    {
        Assert.Contains("There is no file", Assert.Throws<NibbleException>(() => OnnxRuntimeDecoder.Open(folder.File("none.onnx"), 1)).Message,
            StringComparison.Ordinal);
        Assert.Contains("refuses the file", Assert.Throws<NibbleException>(() => OnnxRuntimeDecoder.Open(folder.Write("text.onnx", "text"), 1)).Message,
            StringComparison.Ordinal);
        using var both = BothWays.Open(new TinyLlama().Write(folder.File("tiny")), folder);
        Assert.Contains("ONNX Runtime", Assert.Throws<NibbleException>(() => both.Engine.Score([100_000])).Message, StringComparison.Ordinal);
    }

    private string Message(string model) => Assert.Throws<NibbleException>(() => BothWays.Export(model, folder.File("refused.onnx"))).Message;

    private static int[] Tokens(int count) => Texts.Random(count).Ids;
}
