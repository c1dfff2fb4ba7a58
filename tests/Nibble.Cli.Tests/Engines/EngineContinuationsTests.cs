using Nibble.Cli.Comparison;
using Nibble.Cli.Engines;
using Nibble.Cli.Tests.Commands;
using Nibble.Tests.Shared;
using Nibble.Torch.Models;
using static TorchSharp.torch;

namespace Nibble.Cli.Tests.Engines;

/// <summary>Log-likelihoods in engines, beside those of a whole pass of the model for each answer.</summary>
[Collection(OneAtATime.Name)]
public sealed class EngineContinuationsTests : IDisposable
{
    private readonly TinyFolder folder = new();

    public void Dispose() => folder.Dispose();

    [Fact]
    public void LlamaCppScoresWhatAWholePassScores()
    {
        var libraries = LlamaCpp.RequireFolder();
        Compare(LlamaCppEngine.EngineName, file => LlamaCppEngine.Start(libraries, file.Path, 256, threads: 1, batch: 16), 5e-3);
    }

    [Fact]
    public void OnnxRuntimeScoresWhatAWholePassScores() => Compare(OnnxRuntimeEngine.EngineName, file => new OnnxRuntimeEngine(file.Path, threads: 1), 1e-3);

    [Fact]
    public void ATokenizerOfAnotherModelIsRefused()
    {
        using var engine = new OnnxRuntimeEngine(EngineFile.Write(folder.Model, OnnxRuntimeEngine.EngineName, folder.Root, null, TestContext.Current.CancellationToken).File.Path, threads: 1);
        var scorer = new EngineContinuations(engine, text => [.. text.Select(character => (int)character)]);
        Assert.Contains(
            "the tokenizer makes token 8364, but the model's vocabulary has 270 tokens",
            Assert.Throws<NibbleException>(() => scorer.Score([1, 2], ["a€".Select(character => (int)character).ToArray()])).Message, StringComparison.Ordinal);
        Assert.Contains(
            "the tokenizer makes token 8364", Assert.Throws<NibbleException>(() => scorer.Score(['€'], [[1]])).Message, StringComparison.Ordinal);
    }

    private void Compare(string name, Func<ExportedFile, IDecoderEngine> open, double tolerance)
    {
        using var loaded = LoadedModel.Open(BuiltInModel.Folder);
        var file = EngineFile.Write(BuiltInModel.Folder, name, folder.Root, null, TestContext.Current.CancellationToken).File;
        using var engine = open(file);
        var coder = new TokenizerCoder(loaded.Tokenizer, loaded.Tokenizer.StartId, []);
        var scorer = new EngineContinuations(engine, coder.Encode);

        // Contexts that share a beginning, longer than a batch; answers of one and of several tokens, two of which differ in the last one only.
        string[] contexts = ["Once upon a time there was a little fox who lived in the", "Once upon a time there was a little fox who wanted to", "A dog"];
        string[] choices = [" forest", " river and the hill", " river and the hall", " x"];
        foreach (var context in contexts)
        {
            var before = coder.Encode(context);
            int[][] continuations = [.. choices.Select(choice => coder.Encode(context + choice)[before.Length..])];
            var scores = scorer.Score(before, continuations);
            Assert.All(continuations.Zip(scores), pair =>
            {
                int[] tokens = [.. before, .. pair.First];
                using var scope = NewDisposeScope();
                using var guard = no_grad();
                var probabilities = loaded.Decoder.Logits(tensor(Array.ConvertAll(tokens, id => (long)id), 1, tokens.Length))[0].log_softmax(1);
                var sum = Enumerable.Range(before.Length, pair.First.Length).Sum(i => probabilities[i - 1][tokens[i]].item<float>());
                var greedy = Enumerable.Range(before.Length, pair.First.Length).All(i => probabilities[i - 1].argmax().item<long>() == tokens[i]);
                Assert.Equal(sum, pair.Second.LogLikelihood, tolerance * pair.First.Length);
                Assert.Equal(greedy, pair.Second.IsGreedy);
            });

            // What other requests leave behind does not matter.
            engine.Score([1, 2, 3], 0);
            engine.Advance([4, 5]);
        }
    }
}
