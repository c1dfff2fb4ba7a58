using Nibble.Recipes;
using Nibble.Tests.Shared;
using Nibble.Torch.Evaluation.Questions;
using Nibble.Torch.Models;
using Nibble.Torch.Ptq;
using Nibble.Torch.Tests.Models;
using Nibble.Torch.Tests.Shared;
using static TorchSharp.torch;

namespace Nibble.Torch.Tests.Evaluation.Questions;

public sealed class QuestionScorerTests : IDisposable
{
    private readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    /// <summary>Each token of this tokenizer is a byte, so texts are their own tokens.</summary>
    [Fact]
    public void ScoresAreTheSumsOfAWholeForwardPassPerChoice()
    {
        var tiny = new TinyLlama();
        using var loaded = tiny.Open(folder);
        using var scorer = new SimulatedContinuations(loaded.Decoder, loaded.Tokenizer);
        var naive = new NaiveLlama(tiny.Config, tiny.Tensors());
        string[] choices = ["x", "a longer one", "y", "mid"];

        // The second question shares the beginning of the first one's context, and the third has one of its own.
        foreach (var context in (string[])["Which of these", "Which of them is", "No"])
        {
            var line = $$"""{"context":"{{context}}","choices":[{{string.Join(',', choices.Select(choice => $"\"{choice}\""))}}],"answer":0}""";
            var (scores, cut) = QuestionScorer.Score(scorer, Assert.Single(Parse(line).Questions));
            Assert.False(cut);
            Assert.All(choices.Zip(scores), pair =>
            {
                var (sum, greedy) = Naive(naive, [TinyLlama.Bos, .. Bytes(context)], Bytes(" " + pair.First));
                Assert.Equal(sum, pair.Second.LogLikelihood, 1e-4);
                Assert.Equal(greedy, pair.Second.IsGreedy);
            });
        }
    }

    /// <summary>A cache of quantized keys and values, shared and in pieces, holds what a whole pass computes.</summary>
    [Theory]
    [InlineData("w4a16-g8-kv4c")]
    [InlineData("w8a8-static")]
    [InlineData("w16a16-kv8")]
    public void AnArtifactScoresTheSameInPiecesAndBatches(string preset)
    {
        var tiny = new TinyLlama();
        PostTrainingQuantizer.Run(new PtqRequest(tiny.Write(folder.File("tiny")), RecipePresets.Parse(preset), folder.File("out")) { Data = Texts.Random(4200), Seed = 5 });
        using var loaded = LoadedModel.Open(folder.File("out"));
        using var whole = new SimulatedContinuations(loaded.Decoder, loaded.Tokenizer);
        using var pieces = new SimulatedContinuations(loaded.Decoder, loaded.Tokenizer) { PieceTokens = 3, BatchLogits = 4 * 2 * TinyLlama.Vocabulary };
        foreach (var context in (string[])["Which of these", "Which of them is"])
        {
            string[] choices = ["x", "abc", "two words", "abd", "ab", "yz"];
            var line = $$"""{"context":"{{context}}","choices":[{{string.Join(',', choices.Select(choice => $"\"{choice}\""))}}],"answer":0}""";
            var question = Assert.Single(Parse(line).Questions);
            var expected = question.Candidates.Select(candidate =>
            {
                int[] tokens = [TinyLlama.Bos, .. Bytes(candidate.Context + candidate.Continuation)];
                var first = tokens.Length - candidate.Continuation.Length;
                using var scope = NewDisposeScope();
                using var guard = no_grad();
                var probabilities = loaded.Decoder.Logits(tensor(Array.ConvertAll(tokens, id => (long)id), 1, tokens.Length))[0].log_softmax(1);
                return Enumerable.Range(first, tokens.Length - first).Sum(i => (double)probabilities[i - 1][tokens[i]].item<float>());
            }).ToList();
            foreach (var scorer in (SimulatedContinuations[])[whole, pieces])
            {
                Assert.All(expected.Zip(QuestionScorer.Score(scorer, question).Scores), pair => Assert.Equal(pair.First, pair.Second.LogLikelihood, 1e-3));
            }
        }
    }

    [Fact]
    public void SpacesAtTheEndOfAContextBelongToTheContinuation()
    {
        var tiny = new TinyLlama();
        using var loaded = tiny.Open(folder);
        using var scorer = new SimulatedContinuations(loaded.Decoder, loaded.Tokenizer);
        var (scores, _) = QuestionScorer.Score(scorer, Assert.Single(Parse("""{"context":"Ab \n ","target":"c"}""").Questions));
        var (sum, _) = Naive(new NaiveLlama(tiny.Config, tiny.Tensors()), [TinyLlama.Bos, .. Bytes("Ab")], Bytes(" \n  c"));
        Assert.Equal(sum, scores[0].LogLikelihood, 1e-4);
    }

    [Fact]
    public void ALongContextLosesItsBeginning()
    {
        var tiny = new TinyLlama { MaxPositions = 16 };
        using var loaded = tiny.Open(folder);
        using var scorer = new SimulatedContinuations(loaded.Decoder, loaded.Tokenizer);
        var context = new string([.. Enumerable.Range(0, 40).Select(i => (char)('a' + (i % 26)))]);
        var file = Parse($$"""{"context":"{{context}}","choices":["one","fifteen char.."],"answer":0}""" + "\n" + """{"context":"q","choices":["a","b"],"answer":0}""");
        var (scores, cut) = QuestionScorer.Score(scorer, file.Questions[0]);

        // The model reads 16 tokens. The last one of the continuation is only predicted.
        Assert.True(cut);
        var naive = new NaiveLlama(tiny.Config, tiny.Tensors());
        Assert.Equal(Naive(naive, Bytes(context[^13..]), Bytes(" one")).Sum, scores[0].LogLikelihood, 1e-4);
        Assert.Equal(Naive(naive, Bytes(context[^2..]), Bytes(" fifteen char..")).Sum, scores[1].LogLikelihood, 1e-4);
        Assert.Equal(1, QuestionScorer.Score(scorer, file).Truncated);

        var tooLong = Parse($$"""{"context":"a","target":"{{context}}"}""").Questions[0];
        Assert.Contains(
            "a.jsonl: line 1: answer 1 has 41 tokens after its context, expected 1 to 16",
            Assert.Throws<NibbleException>(() => QuestionScorer.Score(scorer, tooLong)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void AnEmptyContextNeedsAStartToken()
    {
        const string line = """{"context":"","target":"a","delimiter":""}""";
        var tiny = new TinyLlama();
        using var loaded = tiny.Open(folder);
        using var scorer = new SimulatedContinuations(loaded.Decoder, loaded.Tokenizer);
        var naive = new NaiveLlama(tiny.Config, tiny.Tensors());
        Assert.Equal(Naive(naive, [TinyLlama.Bos], Bytes("a")).Sum, QuestionScorer.Score(scorer, Parse(line).Questions[0]).Scores[0].LogLikelihood, 1e-4);

        using var without = LoadedModel.Open(new TinyLlama { AddsBos = false }.Write(folder.File("without")));
        using var other = new SimulatedContinuations(without.Decoder, without.Tokenizer);
        Assert.Contains(
            "there is no text before answer 1", Assert.Throws<NibbleException>(() => QuestionScorer.Score(other, Parse(line))).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void MetricsFollowFromTheScores()
    {
        // Per question: the most likely answer, the most likely one per character, and the correct one.
        var file = Parse(string.Join('\n', Enumerable.Range(0, 4).Select(i => $$"""{"context":"{{i}}","choices":["ab","abcd"],"answer":{{(i < 3 ? 0 : 1)}}}""")));
        var told = new Told();
        var score = QuestionScorer.Score(new FakeScorer(tokens => tokens switch { 2 => -2, _ => -3 }), file, told);
        var (acc, norm) = (score.Metrics[0], score.Metrics[1]);
        Assert.Equal((QuestionMetric.Accuracy, 0.75), (acc.Name, acc.Value));
        Assert.Equal((QuestionMetric.NormalizedAccuracy, 0.25), (norm.Name, norm.Value));

        // sqrt(p (1 - p) / (n - 1)).
        Assert.Equal(Math.Sqrt(0.75 * 0.25 / 3), acc.Scored.Error!.Value, 1e-12);
        Assert.Equal([1L, 2, 3, 4], told.All.Select(progress => progress.Done));
        Assert.Equal([0, 0, 0, 0], score.Answers);

        // Another model answers the last two differently: the first of them wrongly, the second correctly.
        var reference = QuestionScorer.Score(new FakeScorer((context, tokens) => (context >= 2) == (tokens == 2) ? -4 : -2), file);
        var difference = acc.Over(reference.Metrics[0]);
        Assert.Equal((0.0, 0.5), (difference.Value, score.Agreement(reference)));

        // The differences are 0, 0, 1 and -1, whose squares have the mean 2 / 3 with 3 degrees of freedom.
        Assert.Equal(Math.Sqrt(2.0 / 3 / 4), difference.Error!.Value, 1e-12);
        Assert.Equal(0.5, difference.Error.Value / Math.Sqrt(2.0 / 3), 1e-12);
    }

    [Fact]
    public void AClozeHasAPerplexityPerAnswer()
    {
        var file = Parse("""{"context":"0","target":"ab"}""" + "\n" + """{"context":"1","target":"abc"}""");
        var score = QuestionScorer.Score(new FakeScorer(tokens => -tokens), file);
        Assert.Equal(0.5, score.Metrics[0].Value);

        // Losses of 2 and 3.
        var perplexity = score.Metrics[1];
        Assert.Equal(Math.Exp(2.5), perplexity.Value, 1e-9);
        Assert.Equal(Math.Exp(2.5) * Math.Sqrt(0.5 / 2), perplexity.Scored.Error!.Value, 1e-9);
        Assert.Null(QuestionScorer.Score(new FakeScorer(tokens => -tokens), file.Prepare(0, null, 1)).Metrics[0].Scored.Error);
    }

    [Fact]
    public void AModelThatOverflowsIsRefused()
    {
        var path = new TinyLlama().Write(folder.File("ruined"), tensors => tensors["model.layers.1.mlp.up_proj.weight"].Values[3] = 3e38f);
        using var loaded = LoadedModel.Open(path);
        using var scorer = new SimulatedContinuations(loaded.Decoder, loaded.Tokenizer);
        Assert.Contains(
            "the model computes NaN or infinite values on this text, first in the input of 'model.layers.1.mlp.down_proj'",
            Assert.Throws<NibbleException>(() => QuestionScorer.Score(scorer, Parse("""{"context":"abc","target":"d"}"""))).Message,
            StringComparison.Ordinal);
    }

    /// <summary>Words of children's stories among other words: a trained model prefers what fits.</summary>
    [Fact]
    public void ATrainedModelAnswersQuestionsOfItsStories()
    {
        using var loaded = Texts.Stories();
        using var scorer = new SimulatedContinuations(loaded.Decoder, loaded.Tokenizer);
        var score = QuestionScorer.Score(scorer, QuestionFile.Parse(StoryQuestions.Of(SharedData.Require("tinystories/valid.txt"), 60), "stories.jsonl"));
        // Guesses are right one time in four, with a standard error of 0.056.
        Assert.InRange(score.Metrics[0].Value, 0.45, 1);

        // Once more with whole passes, without a cache.
        var question = score.File.Questions[7];
        var (scores, _) = QuestionScorer.Score(scorer, question);
        Assert.All(question.Candidates.Zip(scores), pair =>
        {
            var tokens = scorer.Encode(pair.First.Context + pair.First.Continuation);
            var first = scorer.Encode(pair.First.Context).Length;
            using var scope = NewDisposeScope();
            using var guard = no_grad();
            var probabilities = loaded.Decoder.Logits(tensor(Array.ConvertAll(tokens, id => (long)id), 1, tokens.Length))[0].log_softmax(1);
            var sum = Enumerable.Range(first, tokens.Length - first).Sum(i => probabilities[i - 1][tokens[i]].item<float>());
            Assert.Equal(sum, pair.Second.LogLikelihood, 1e-4);
        });
    }

    private static (double Sum, bool IsGreedy) Naive(NaiveLlama model, int[] context, int[] continuation)
    {
        var logits = model.Logits([.. context, .. continuation]);
        var (sum, greedy) = (0.0, true);
        for (var i = 0; i < continuation.Length; i++)
        {
            var row = logits[context.Length - 1 + i];
            sum += row[continuation[i]] - Math.Log(row.Sum(Math.Exp));
            greedy &= Array.IndexOf(row, row.Max()) == continuation[i];
        }

        return (sum, greedy);
    }

    private static int[] Bytes(string text) => [.. System.Text.Encoding.UTF8.GetBytes(text).Select(value => (int)value)];

    private static QuestionFile Parse(string text) => QuestionFile.Parse(text, "a.jsonl");

    /// <summary>A model whose scores depend on the last byte of the context as a digit, and on the number of tokens without the space.</summary>
    private sealed class FakeScorer(Func<int, int, double> score) : IContinuationScorer
    {
        public FakeScorer(Func<int, double> score)
            : this((_, tokens) => score(tokens))
        {
        }

        public int MaxSequence => 100;

        public int[] Encode(string text) => Bytes(text);

        public IReadOnlyList<ContinuationScore> Score(IReadOnlyList<int> context, IReadOnlyList<int[]> continuations) =>
            [.. continuations.Select(tokens => new ContinuationScore(score(context[^1] - '0', tokens.Length - 1), tokens.Length == 3))];
    }
}
