using Nibble.Models.Decoders;
using Nibble.Torch.Models;
using Nibble.Torch.Tests.Shared;
using static TorchSharp.torch;

namespace Nibble.Torch.Tests.Models;

/// <summary>Every family of decoders against logits that an independent script worked out from the definitions of transformers.</summary>
public sealed class DecoderReferenceTests : IDisposable
{
    private readonly TemporaryFolder folder = new();

    public static TheoryData<string> Names => [.. ReferenceDecoder.Names];

    [Fact]
    public void EveryTypeHasAReferenceOrANaiveModel() => Assert.Empty(
        DecoderConfig.SupportedTypes.Except(["llama", "mistral", "qwen2", "qwen3"])
            .Except(ReferenceDecoder.Names.Select(name => DecoderConfig.Parse(ReferenceDecoder.Load(name).ConfigJson, name).ModelType)));

    [Theory]
    [MemberData(nameof(Names))]
    public void LogitsAreThoseOfTheDefinition(string name)
    {
        var reference = ReferenceDecoder.Load(name);
        using var model = LoadedModel.Open(reference.Write(folder.File(name)));
        using var scope = NewDisposeScope();
        using var guard = no_grad();
        AssertLogits(reference, model.Decoder.Logits(tensor(reference.Tokens, 1, reference.Tokens.Length))[0]);
    }

    [Theory]
    [MemberData(nameof(Names))]
    public void LogitsWithACacheAreTheSame(string name)
    {
        var reference = ReferenceDecoder.Load(name);
        using var model = LoadedModel.Open(reference.Write(folder.File(name)));
        using var scope = NewDisposeScope();
        using var guard = no_grad();
        using var cache = new KeyValueCache(model.Definition.Layers);

        // Several tokens at once, then one by one, so that windows end inside a step and between steps.
        var parts = new List<Tensor> { model.Decoder.Logits(tensor(reference.Tokens[..11], 1, 11), cache)[0] };
        foreach (var step in (long[][])[reference.Tokens[11..16], .. reference.Tokens[16..].Select(token => new[] { token })])
        {
            parts.Add(model.Decoder.Logits(tensor(step, 1, step.Length), cache)[0]);
        }

        AssertLogits(reference, cat(parts, 0));
    }

    public void Dispose() => folder.Dispose();

    private static void AssertLogits(ReferenceDecoder reference, Tensor logits)
    {
        foreach (var (position, expected) in reference.Positions.Zip(reference.Logits))
        {
            var found = logits[position].data<float>().ToArray();
            var scale = expected.Max(Math.Abs);
            Assert.All(found.Zip(expected), pair => Assert.Equal(pair.Second, pair.First, 1e-5 * Math.Max(1, scale)));
        }
    }
}
