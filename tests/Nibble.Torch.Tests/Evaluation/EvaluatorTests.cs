using Nibble.Torch.Evaluation;
using Nibble.Torch.Models;
using Nibble.Torch.Tests.Models;
using Nibble.Torch.Tests.Shared;

namespace Nibble.Torch.Tests.Evaluation;

public sealed class EvaluatorTests : IDisposable
{
    private readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    [Fact]
    public void EvaluateEqualsThePlainSums()
    {
        var (tiny, other) = (new TinyLlama { Seed = 1 }, new TinyLlama { Seed = 2 });
        using var model = tiny.Open(folder);
        using var reference = LoadedModel.Open(other.Write(folder.File("other")));
        var text = Texts.Random(20);

        // Windows of 6 begin at 0, 6, 12; positions 3 and 4 of each predict the tokens at 4 and 5.
        double loss = 0, divergence = 0;
        var agreements = 0;
        foreach (var start in (int[])[0, 6, 12])
        {
            int[] window = [TinyLlama.Bos, .. text.Ids[(start + 1)..(start + 6)]];
            var found = new NaiveLlama(tiny.Config, tiny.Tensors()).Logits(window);
            var wanted = new NaiveLlama(other.Config, other.Tensors()).Logits(window);
            foreach (var position in (int[])[3, 4])
            {
                var (p, q) = (Softmax(wanted[position]), Softmax(found[position]));
                loss -= Math.Log(q[window[position + 1]]);
                divergence += p.Zip(q, (a, b) => a * Math.Log(a / b)).Sum();
                agreements += Array.IndexOf(p, p.Max()) == Array.IndexOf(q, q.Max()) ? 1 : 0;
            }
        }

        var told = new Told();
        var result = Evaluator.Evaluate(model.Decoder, text, 6, reference: reference.Decoder, progress: told);
        Assert.Equal((3, 6L), (result.Windows, result.Tokens));
        Assert.Equal(loss / 6, result.Loss, 1e-5);
        Assert.Equal(Math.Exp(loss / 6), result.Perplexity, 1e-3 * result.Perplexity);
        Assert.Equal(divergence / 6, result.Divergence!.Value, 1e-5);
        Assert.Equal(agreements / 6d, result.Agreement!.Value, 1e-9);
        Assert.Equal([1L, 2, 3], told.All.Select(progress => progress.Done));
        Assert.All(told.All, progress => Assert.Equal(("evaluate", 3L), (progress.Stage, progress.Total)));
    }

    [Fact]
    public void EvaluateOfAModelThatKnowsNothingIsTheVocabulary()
    {
        using var model = LoadedModel.Open(new TinyLlama().Write(folder.File("blank"), tensors => Array.Clear(tensors["lm_head.weight"].Values)));
        var result = Evaluator.Evaluate(model.Decoder, Texts.Random(40), 8, windows: 2);
        Assert.Equal(TinyLlama.Vocabulary, result.Perplexity, 1e-3);
        Assert.Equal((2, 6L), (result.Windows, result.Tokens));
        Assert.Null(result.Divergence);
        Assert.Null(result.Agreement);
    }

    [Fact]
    public void EvaluateAgainstItselfFindsNoDifference()
    {
        using var model = new TinyLlama().Open(folder);
        var result = Evaluator.Evaluate(model.Decoder, Texts.Random(40), 8, reference: model.Decoder);
        Assert.Equal(0, result.Divergence);
        Assert.Equal(1, result.Agreement);
    }

    [Fact]
    public void EvaluateStopsBetweenWindowsAndRefusesShortTexts()
    {
        using var model = new TinyLlama().Open(folder);
        using var cancellation = new CancellationTokenSource();
        var told = new Told(progress => cancellation.Cancel());
        Assert.Throws<OperationCanceledException>(
            () => Evaluator.Evaluate(model.Decoder, Texts.Random(40), 8, progress: told, cancellation: cancellation.Token));
        Assert.Single(told.All);
        Assert.Contains("expected at least one window of 41",
            Assert.Throws<NibbleException>(() => Evaluator.Evaluate(model.Decoder, Texts.Random(40), 41)).Message, StringComparison.Ordinal);
        Assert.Throws<ArgumentOutOfRangeException>(() => Evaluator.Evaluate(model.Decoder, Texts.Random(40), 3));
    }

    private static double[] Softmax(double[] logits)
    {
        var exponentials = Array.ConvertAll(logits, Math.Exp);
        var sum = exponentials.Sum();
        return Array.ConvertAll(exponentials, value => value / sum);
    }
}

public sealed class EvaluatorRealModelTests
{
    [Theory]
    [InlineData(20, 3.788)]
    [InlineData(null, 4.660)]
    public void StoriesHasThePerplexityThatTheReferencesFound(int? windows, double expected)
    {
        using var model = Texts.Stories();
        var result = Evaluator.Evaluate(model.Decoder, Texts.TinyStories("valid.txt", model), 512, windows);
        Assert.Equal(expected, result.Perplexity, 0.0006);
        Assert.Equal(windows ?? 183, result.Windows);
        Assert.Equal(result.Windows * 255L, result.Tokens);
    }
}
