using Nibble.Torch.Data;
using Nibble.Torch.Evaluation;
using Nibble.Torch.Models;
using Nibble.Torch.Native;
using static TorchSharp.torch;

namespace Nibble.Cli.Engines;

/// <summary>How an engine's answers differ from the simulation's.</summary>
/// <param name="Windows">Windows of text scored.</param>
/// <param name="Tokens">Positions scored.</param>
/// <param name="Simulated">Perplexity of the simulation.</param>
/// <param name="Engine">Perplexity of the engine.</param>
/// <param name="Divergence">Mean Kullback-Leibler divergence of the engine's predictions from the simulated ones, nats.</param>
/// <param name="LargestDifference">The largest difference between two log-probabilities.</param>
/// <param name="Agreement">Share of the positions where both hold the same token likeliest.</param>
/// <param name="Continued">Tokens that both were asked to write, the likeliest one after the other.</param>
/// <param name="SameContinuation">How many of them are the same, up to the first that differs.</param>
/// <param name="OwnDivergence"><paramref name="Divergence"/> of the simulation from itself over the first windows, one token after the other with a cache,
/// whose sums come in another order: what rounding alone does to this model.</param>
/// <param name="OwnDifference"><paramref name="LargestDifference"/> of the simulation from itself over the same windows.</param>
internal sealed record EngineDifference(
    int Windows, long Tokens, double Simulated, double Engine, double Divergence, double LargestDifference, double Agreement, int Continued,
    int SameContinuation, double OwnDivergence, double OwnDifference)
{
    /// <summary>What differs but for ties between codes of inputs; null where no inputs are quantized, or the engine does not tell its codes.</summary>
    public TieDifference? Ties { get; init; }

    /// <summary>What the engine's own rounding explains; null where it computes in float32 as the simulation does.</summary>
    public ExplainedDifference? Explained { get; init; }

    /// <summary>The engine's perplexity over the simulated one, less 1.</summary>
    public double PerplexityChange => (Engine / Simulated) - 1;

    /// <summary>The largest difference of log-probabilities that summing in another order explains, from what it does to the simulation itself.</summary>
    public double RoundingLimit => LimitOfSums(OwnDifference);

    /// <summary>Whether nothing differs but what rounding explains: that of the engine, ties between codes, or sums in another order. NaN is within no
    /// limit.</summary>
    public bool IsExplained =>
        Ties is { } ties ? ties.IsWithin(TieDifference.UsualLogitTolerance)
        : Explained is { } explained ? explained.Left <= explained.Limit
        : LargestDifference <= RoundingLimit;

    /// <summary>The largest difference that summing in another order explains.</summary>
    /// <param name="own">What it does to the simulation itself.</param>
    public static double LimitOfSums(double own) => LeastRounding + (OrdersOfSums * own);

    /// <summary>How much further apart two orders of sums may be than the two that were computed, since those of an engine are others again.</summary>
    private const double OrdersOfSums = 10;

    /// <summary>What float32 itself rounds of a log-probability.</summary>
    private const double LeastRounding = 1e-5;
}

/// <summary>How much of a difference the engine's rounding explains, as mean Kullback-Leibler divergences in nats a token.</summary>
/// <param name="Explained">Of the simulation with the engine's rounding from the simulation without.</param>
/// <param name="Left">Of the engine from the simulation with its rounding.</param>
/// <param name="IsExact">Whether the rounding is of a kind that both do alike; otherwise inputs between two codes fall either way.</param>
internal sealed record ExplainedDifference(double Explained, double Left, bool IsExact)
{
    /// <summary>What sums in another order make of a divergence of 0.</summary>
    private const double Least = 1e-9;

    /// <summary>
    /// The most that may be left. Where roundings fall alike, next to nothing is. Where all of them fall either way, the engine and the simulation are two
    /// draws of the same noise, which in
    /// the mean are twice as far from each other as each is from the simulation without it.
    /// </summary>
    public double Limit => Least + (Explained * (IsExact ? 0.25 : 2));
}

/// <summary>Computes the same text by an engine and by the simulation.</summary>
internal static class EngineComparison
{
    private const int PromptTokens = 8;
    private const int OwnWindows = 4;

    /// <summary>Compares windows of text and a continuation of its beginning.</summary>
    /// <param name="model">The model as Nibble simulates it.</param>
    /// <param name="engine">The same model in the engine.</param>
    /// <param name="ties">Decides ties as in the engine; null for no such comparison.</param>
    /// <param name="rounding">Rounds as the engine does; null where it computes in float32.</param>
    /// <param name="text">The text.</param>
    /// <param name="context">Tokens of a window.</param>
    /// <param name="windows">Windows to score at most; null for all.</param>
    /// <param name="continued">Tokens to continue the text's beginning by.</param>
    /// <param name="progress">Told after each window.</param>
    /// <param name="cancellation">Stops between windows.</param>
    /// <exception cref="NibbleException">The text is shorter than a window, or the engine sees another vocabulary.</exception>
    public static EngineDifference Run(
        LoadedModel model, IDecoderEngine engine, DecoderTies? ties, EngineRounding? rounding, TokenizedText text, int context, int? windows, int continued,
        IProgress<RunProgress>? progress, CancellationToken cancellation)
    {
        if (engine.VocabularySize != model.Definition.VocabularySize)
        {
            throw new NibbleException(
                $"the engine sees a vocabulary of {engine.VocabularySize} tokens, expected the model's {model.Definition.VocabularySize}");
        }

        var most = Array.MaxLength / engine.VocabularySize;
        if (context > most)
        {
            throw new NibbleException(
                $"windows of {context} tokens with {engine.VocabularySize} logits each are more than an engine gives at once; "
                + $"compare windows of at most {most} tokens");
        }

        text.RequireWindow(context);
        var count = Math.Min(text.WindowCount(context), windows ?? int.MaxValue);
        var first = context / 2;
        var scored = context - first - 1;
        double simulated = 0, computed = 0, divergence = 0, largest = 0, ownDivergence = 0, ownLargest = 0, explained = 0, left = 0;
        long agreements = 0;
        using var guard = no_grad();
        for (var i = 0; i < count; i++)
        {
            cancellation.ThrowIfCancellationRequested();
            using var pause = CollectorPause.Begin();
            using var scope = NewDisposeScope();
            var window = text.Window(i * context, context);
            var ours = Evaluator.Score(model.Decoder, tensor(window, 1, context), first);
            var theirs = tensor(engine.Score(Array.ConvertAll(window, id => (int)id), first), scored, engine.VocabularySize).log_softmax(1);
            var targets = tensor(window)[(first + 1)..].unsqueeze(1);
            simulated -= ours.gather(1, targets).sum(ScalarType.Float64).item<double>();
            computed -= theirs.gather(1, targets).sum(ScalarType.Float64).item<double>();
            divergence += Divergence(ours, theirs);
            largest = Math.Max(largest, (ours - theirs).abs().max().item<float>());
            if (i < OwnWindows)
            {
                var again = OneByOne(model.Decoder, window, first);
                ownDivergence += Divergence(ours, again);
                ownLargest = Math.Max(ownLargest, (ours - again).abs().max().item<float>());
            }

            if (rounding is not null)
            {
                var rounded = rounding.Run(() => Evaluator.Score(model.Decoder, tensor(window, 1, context), first));
                explained += Divergence(ours, rounded);
                left += Divergence(rounded, theirs);
            }

            ties?.Add(window, first, theirs);
            agreements += ours.argmax(1).eq(theirs.argmax(1)).sum().item<long>();
            progress?.Report(new RunProgress("compare", i + 1, count));
        }

        var tokens = (long)count * scored;
        int[] prompt = [.. text.Window(0, Math.Min(PromptTokens, context / 2)).Select(id => (int)id)];
        var length = Math.Min(continued, context - prompt.Length);
        var (expected, found) = (TextGenerator.Continue(model.Decoder, prompt, length, cancellation), engine.Continue(prompt, length));
        var same = expected.Zip(found).TakeWhile(pair => pair.First == pair.Second).Count();
        return new EngineDifference(
            count, tokens, Math.Exp(simulated / tokens), Math.Exp(computed / tokens), divergence / tokens, largest, (double)agreements / tokens, length, same,
            ownDivergence / (scored * Math.Min(count, OwnWindows)), ownLargest)
        {
            Ties = ties?.Difference,
            Explained = rounding is null ? null : new ExplainedDifference(explained / tokens, left / tokens, rounding.IsExact),
        };
    }

    /// <summary>Summed over positions, nats. In float64, and normalized there: what float32 leaves of a sum of probabilities is more than the least of these
    /// divergences.</summary>
    private static double Divergence(Tensor from, Tensor to)
    {
        using var scope = NewDisposeScope();
        var (expected, found) = (from.to(float64).log_softmax(1), to.to(float64).log_softmax(1));
        return (expected.exp() * (expected - found)).sum().item<double>();
    }

    /// <summary><see cref="Evaluator.Score"/> one token after the other.</summary>
    private static Tensor OneByOne(IDecoder model, long[] window, int first)
    {
        using var cache = new KeyValueCache(model.Definition.Layers);
        var logits = Array.ConvertAll(window, id =>
        {
            using var scope = NewDisposeScope();
            return model.Logits(tensor(new[] { id }, 1, 1), cache)[0].MoveToOuterDisposeScope();
        });
        return cat(logits).narrow(0, first, window.Length - first - 1).log_softmax(1);
    }
}
