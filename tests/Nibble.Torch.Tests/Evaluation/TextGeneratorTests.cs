using Nibble.Torch.Evaluation;
using Nibble.Torch.Models;
using Nibble.Torch.Tests.Shared;

namespace Nibble.Torch.Tests.Evaluation;

public sealed class TextGeneratorTests : IDisposable
{
    private readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    [Fact]
    public void GenerateWritesTheLikeliestTokenUpToTheLimit()
    {
        using var model = Always('A');
        Assert.Equal("AAAAA", TextGenerator.Generate(model, "say ", new GenerationOptions(MaxTokens: 5, Temperature: 0)));

        // 60 positions are taken by the prompt and its beginning token; 64 is all there is.
        Assert.Equal("AAAA", TextGenerator.Generate(model, new string('x', 59), new GenerationOptions(MaxTokens: 50, Temperature: 0)));
    }

    [Fact]
    public void GenerateStopsAtTheEndToken()
    {
        using var model = Always(TinyLlama.Eos);
        Assert.Equal(string.Empty, TextGenerator.Generate(model, "say ", new GenerationOptions(Temperature: 0)));
    }

    [Fact]
    public void GenerateAtTemperature0IsWhatTheLogitsOfTheWholeTextSay()
    {
        using var model = new TinyLlama().Open(folder);
        var options = new GenerationOptions(MaxTokens: 12, Temperature: 0, Seed: 1);
        var text = TextGenerator.Generate(model, "hello", options);
        Assert.Equal(text, TextGenerator.Generate(model, "hello", options with { Seed = 2 }));
        Assert.Equal(text, TextGenerator.Generate(model, "hello", options with { Temperature = 1, TopP = 1e-9 }));

        var ids = new List<long> { TinyLlama.Bos, 'h', 'e', 'l', 'l', 'o' };
        using var guard = TorchSharp.torch.no_grad();
        using var scope = TorchSharp.torch.NewDisposeScope();
        for (var i = 0; i < 12; i++)
        {
            ids.Add(model.Llama().forward(TorchSharp.torch.tensor(ids.ToArray(), 1, ids.Count))[0][-1].argmax().item<long>());
        }

        Assert.DoesNotContain(TinyLlama.Eos, ids);
        Assert.Equal(model.Tokenizer.Decode([.. ids.Select(id => (int)id)])["<|bos|>hello".Length..], text);
    }

    [Fact]
    public void GenerateWithOneSeedWritesOneText()
    {
        using var model = new TinyLlama().Open(folder);
        string Write(long seed) => TextGenerator.Generate(model, "hello", new GenerationOptions(MaxTokens: 20, Temperature: 2, TopP: 1, Seed: seed));
        Assert.Equal(Write(1), Write(1));
        Assert.NotEqual(Write(1), Write(2));
    }

    [Fact]
    public void GenerateRefusesPromptsThatDoNotFit()
    {
        using var model = new TinyLlama().Open(folder);
        Assert.Equal(
            "the prompt has 64 tokens, expected fewer than the model's context of 64",
            Assert.Throws<NibbleException>(() => TextGenerator.Generate(model, new string('x', 63), new GenerationOptions())).Message);

        using var bare = LoadedModel.Open(new TinyLlama { AddsBos = false }.Write(folder.File("bare")));
        Assert.Contains("the prompt is empty", Assert.Throws<NibbleException>(() => TextGenerator.Generate(bare, "", new GenerationOptions())).Message,
            StringComparison.Ordinal);
    }

    [Fact]
    public void GenerateCanBeCancelled()
    {
        using var model = new TinyLlama().Open(folder);
        Assert.Throws<OperationCanceledException>(() => TextGenerator.Generate(model, "hello", new GenerationOptions(), new CancellationToken(canceled: true)));
    }

    /// <summary>A model whose blocks add nothing and whose head knows one token.</summary>
    private LoadedModel Always(int token) => LoadedModel.Open(new TinyLlama().Write(folder.File("always"), tensors =>
    {
        foreach (var (name, (_, values)) in tensors)
        {
            Array.Fill(values, name.Contains("_proj", StringComparison.Ordinal) || name == "lm_head.weight" ? 0 : 1);
        }

        Array.Fill(tensors["lm_head.weight"].Values, 1, token * TinyLlama.Hidden, TinyLlama.Hidden);
    }));
}
