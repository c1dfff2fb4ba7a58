using Nibble.Torch.Data;
using Nibble.Torch.Evaluation;
using Nibble.Torch.Models;
using Nibble.Torch.Tests.Shared;
using static TorchSharp.torch;

namespace Nibble.Torch.Tests.Data;

public sealed class SelfTextTests : IDisposable
{
    private readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    [Fact]
    public void SampleDrawsOneTextFromOneSeed()
    {
        using var model = new TinyLlama().Open(folder);
        TokenizedText Draw(long seed) => SelfText.Sample(model.Decoder, model.Tokenizer, 5, 20, seed);
        var text = Draw(1);
        Assert.Equal(("self", 100, TinyLlama.Bos), (text.Name, text.Ids.Length, text.StartId));
        Assert.All(text.Ids, id => Assert.InRange(id, 0, TinyLlama.Vocabulary - 1));
        Assert.All(text.Ids.Chunk(20), window => Assert.Equal(TinyLlama.Bos, window[0]));
        Assert.Equal(text.Ids, Draw(1).Ids);
        Assert.NotEqual(text.Ids, Draw(2).Ids);
        Assert.Equal(5, text.Ids.Chunk(20).Select(window => window[1]).Distinct().Count());
    }

    [Fact]
    public void SampleTakesTheLikeliestTokensFirstThenDraws()
    {
        using var model = new TinyLlama().Open(folder);
        var text = SelfText.Sample(model.Decoder, model.Tokenizer, 8, 40, seed: 3);
        using var guard = no_grad();
        using var scope = NewDisposeScope();
        var likeliest = model.Llama().forward(tensor(text.Ids, 8, 40)).argmax(2);
        var (taken, all) = (0, 0);
        foreach (var (row, window) in text.Ids.Chunk(40).Index())
        {
            var age = 0;
            for (var i = 1; i < window.Length; i++)
            {
                age = window[i] == TinyLlama.Bos ? 0 : age + 1;
                var top = likeliest[row, i - 1].item<long>();
                if (age is > 1 and <= 1 + SelfText.GreedyTokens)
                {
                    Assert.Equal(top, window[i]);
                }
                else if (age > 1 + SelfText.GreedyTokens)
                {
                    all++;
                    taken += top == window[i] ? 1 : 0;
                }
            }
        }

        Assert.InRange(taken, 1, all / 2);
    }

    [Fact]
    public void SampleDrawsFromTheModelsDistribution()
    {
        // Every token but the ends has the same logit, except that 'A' has 2 more: e^2 / (e^2 + 257) of what is drawn.
        using var model = Constant(tensors => Array.Fill(tensors["lm_head.weight"].Values, 2f / TinyLlama.Hidden, 'A' * TinyLlama.Hidden, TinyLlama.Hidden));
        var drawn = SelfText.Sample(model.Decoder, model.Tokenizer, 200, 60, seed: 1).Ids.Chunk(60).SelectMany(Drawn).ToList();
        var expected = Math.Exp(2) / (Math.Exp(2) + 257);
        Assert.InRange(drawn.Count, 8000, 11_000);
        Assert.Equal(expected, drawn.Count(id => id == 'A') / (double)drawn.Count, 4 * Math.Sqrt(expected / drawn.Count));
        Assert.Equal(256, drawn.Distinct().Count());

        // What follows a beginning, its random token and the greedy ones, up to the next beginning.
        static IEnumerable<int> Drawn(int[] window)
        {
            var age = 0;
            foreach (var id in window)
            {
                age = id == TinyLlama.Bos ? 0 : age + 1;
                if (age > 1 + SelfText.GreedyTokens)
                {
                    yield return id;
                }
            }
        }
    }

    [Fact]
    public void SampleBeginsAnewWhereTheModelEnds()
    {
        using var model = Constant(tensors => Array.Fill(tensors["lm_head.weight"].Values, 10, TinyLlama.Eos * TinyLlama.Hidden, TinyLlama.Hidden));
        var text = SelfText.Sample(model.Decoder, model.Tokenizer, 2, 6, seed: 1);
        Assert.All(text.Ids.Index(), item => Assert.Equal(item.Index % 2 == 0, item.Item == TinyLlama.Bos));
        Assert.DoesNotContain(TinyLlama.Eos, text.Ids);
    }

    [Fact]
    public void SampleWithoutABeginningTokenStartsAtRandom()
    {
        using var model = new TinyLlama { AddsBos = false }.Open(folder);
        var text = SelfText.Sample(model.Decoder, model.Tokenizer, 6, 4, seed: 1);
        Assert.Null(text.StartId);
        Assert.True(text.Ids.Chunk(4).Select(window => window[0]).Distinct().Count() > 3);
    }

    [Fact]
    public void SampleTellsHowFarItIsAndStops()
    {
        using var model = new TinyLlama().Open(folder);
        var told = new Told();
        SelfText.Sample(model.Decoder, model.Tokenizer, 3, 4, 1, told);
        Assert.Equal([3L, 6, 9, 12], told.All.Select(progress => progress.Done));
        Assert.All(told.All, progress => Assert.Equal(("sample", 12L), (progress.Stage, progress.Total)));

        using var cancellation = new CancellationTokenSource();
        var stopped = new Told(progress => cancellation.Cancel());
        Assert.Throws<OperationCanceledException>(() => SelfText.Sample(model.Decoder, model.Tokenizer, 3, 4, 1, stopped, cancellation.Token));
        Assert.Single(stopped.All);
    }

    [Fact]
    public void SampleRefusesWhatTheModelCannotWrite()
    {
        using var model = new TinyLlama().Open(folder);
        Assert.Contains("expected at most the model's context of 64",
            Assert.Throws<NibbleException>(() => SelfText.Sample(model.Decoder, model.Tokenizer, 1, 65, 1)).Message, StringComparison.Ordinal);
        Assert.Throws<ArgumentOutOfRangeException>(() => SelfText.Sample(model.Decoder, model.Tokenizer, 0, 8, 1));
        Assert.Throws<ArgumentOutOfRangeException>(() => SelfText.Sample(model.Decoder, model.Tokenizer, 1, 1, 1));
        using var broken = LoadedModel.Open(new TinyLlama().Write(folder.File("broken"), tensors => Array.Fill(tensors["lm_head.weight"].Values, 3e38f)));
        Assert.Contains("logits are NaN or infinite", Assert.Throws<NibbleException>(() => SelfText.Sample(broken.Decoder, broken.Tokenizer, 1, 8, 1)).Message,
            StringComparison.Ordinal);
    }

    /// <summary>A model whose normalised stream is all ones, so that each row of its head sums to a logit.</summary>
    private LoadedModel Constant(Action<SortedDictionary<string, (long[] Shape, float[] Values)>> head) =>
        LoadedModel.Open(new TinyLlama().Write(folder.File("constant"), tensors =>
    {
        foreach (var (name, (_, values)) in tensors)
        {
            Array.Fill(values, name.Contains("_proj", StringComparison.Ordinal) || name == "lm_head.weight" ? 0 : 1);
        }

        head(tensors);
    }));
}

public sealed class SelfTextRealModelTests
{
    [Fact]
    public void StoriesWritesWhatItKnows()
    {
        using var model = Texts.Stories();
        var text = SelfText.Sample(model.Decoder, model.Tokenizer, 16, 256, seed: 1);
        Assert.Equal(16, text.WindowCount(256));

        // Text drawn from a model's own distribution is about as surprising to it as text of the kind it was trained on: 3.8 to 4.7.
        Assert.InRange(Evaluator.Evaluate(model.Decoder, text, 256).Perplexity, 3, 6.5);
    }
}
