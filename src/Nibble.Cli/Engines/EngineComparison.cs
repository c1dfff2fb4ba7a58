using Nibble.Torch.Data;
using Nibble.Torch.Evaluation;
using Nibble.Torch.Models;
using Nibble.Torch.Native;
using static TorchSharp.torch;

namespace Nibble.Cli.Engines;

/// <summary>How an engine's predictions differ from those of the simulation.</summary>
/// <param name="Windows">Number of windows scored.</param>
/// <param name="Tokens">Number of positions scored.</param>
/// <param name="Simulated">Perplexity of the simulation.</param>
/// <param name="Engine">Perplexity of the engine.</param>
/// <param name="Divergence">Mean Kullback-Leibler divergence of the engine's predictions from the simulated ones, in nats.</param>
/// <param name="LargestDifference">The largest difference between two log-probabilities.</param>
/// <param name="Agreement">Share of the positions where both have the same top-1 token.</param>
/// <param name="Continued">Number of tokens that both generated greedily.</param>
/// <param name="SameContinuation">Number of these tokens that are the same before the first difference.</param>
/// <param name="OwnDivergence"><paramref name="Divergence"/> between the simulation of whole windows and token by token with a cache, on the first windows.
/// The order of sums differs, which shows the effect of rounding on this model.</param>
/// <param name="OwnDifference"><paramref name="LargestDifference"/> of the same comparison.</param>
internal sealed record EngineDifference(
    int Windows, long Tokens, double Simulated, double Engine, double Divergence, double LargestDifference, double Agreement, int Continued,
    int SameContinuation, double OwnDivergence, double OwnDifference)
{
    /// <summary>The differences with ties between input codes decided as in the engine; null if no inputs are quantized or codes are unknown.</summary>
    public TieDifference? Ties { get; init; }

    /// <summary>The difference that the engine's rounding explains; null if it computes in float32 like the simulation.</summary>
    public ExplainedDifference? Explained { get; init; }

    /// <summary>The engine's perplexity divided by the simulated one, minus 1.</summary>
    public double PerplexityChange => (Engine / Simulated) - 1;

    /// <summary>The largest difference of log-probabilities that a different order of sums explains, estimated from the simulation itself.</summary>
    public double RoundingLimit => LimitOfSums(OwnDifference);

    /// <summary>Whether rounding explains all differences: the engine's rounding, ties between codes, or a different order of sums. NaN is never within
    /// a limit.</summary>
    public bool IsExplained =>
        Ties is { } ties ? ties.IsWithin(TieDifference.DefaultLogitTolerance)
        : Explained is { } explained ? explained.Left <= explained.Limit
        : LargestDifference <= RoundingLimit;

    /// <summary>The largest difference that a different order of sums explains.</summary>
    /// <param name="own">The effect on the simulation itself.</param>
    public static double LimitOfSums(double own) => LeastRounding + (OrdersOfSums * own);

    /// <summary>Safety factor: an engine's order of sums is different again from the two that were compared.</summary>
    private const double OrdersOfSums = 10;

    /// <summary>The rounding error of a log-probability in float32.</summary>
    private const double LeastRounding = 1e-5;
}

/// <summary>How much of a difference the engine's rounding explains, as mean Kullback-Leibler divergences in nats per token.</summary>
/// <param name="Explained">The divergence of the simulation with the engine's rounding from the simulation without it.</param>
/// <param name="Left">The divergence of the engine from the simulation with its rounding.</param>
/// <param name="IsExact">Whether both round identically; otherwise an input between two codes may become either.</param>
internal sealed record ExplainedDifference(double Explained, double Left, bool IsExact)
{
    /// <summary>The divergence that a different order of sums makes of 0.</summary>
    private const double Least = 1e-9;

    /// <summary>
    /// The largest acceptable remainder. If both round identically, it is close to 0. If an input may become either of two codes, the engine and the
    /// simulation are two draws of the same noise. On average,
    /// they are twice as far from each other as each is from the simulation without noise.
    /// </summary>
    public double Limit => Least + (Explained * (IsExact ? 0.25 : 2));
}

/// <summary>Computes the same text with an engine and with the simulation.</summary>
internal static class EngineComparison
{
    private const int PromptTokens = 8;
    private const int OwnWindows = 4;

    /// <summary>Compares windows of text and a continuation of its beginning.</summary>
    /// <param name="model">The model as Nibble simulates it.</param>
    /// <param name="engine">The same model in the engine.</param>
    /// <param name="ties">Decides ties as in the engine; null to skip that comparison.</param>
    /// <param name="rounding">Rounds as the engine does; null if the engine computes in float32.</param>
    /// <param name="text">The text.</param>
    /// <param name="context">Tokens per window.</param>
    /// <param name="windows">Most windows to score; null for all.</param>
    /// <param name="continued">Tokens to generate after the beginning of the text.</param>
    /// <param name="progress">Takes a report after each window.</param>
    /// <param name="cancellation">Stops between windows.</param>
    /// <exception cref="NibbleException">The text is shorter than a window, or the engine has a different vocabulary size.</exception>
    public static EngineDifference Run(
        LoadedModel model, IDecoderEngine engine, DecoderTies? ties, EngineRounding? rounding, TokenizedText text, int context, int? windows, int continued,
        IProgress<RunProgress>? progress, CancellationToken cancellation)
    {
        if (engine.VocabularySize != model.Definition.VocabularySize)
        {
            throw new NibbleException(
                $"the engine has a vocabulary of {engine.VocabularySize} tokens, expected the model's {model.Definition.VocabularySize}");
        }

        var most = Array.MaxLength / engine.VocabularySize;
        if (context > most)
        {
            throw new NibbleException(
                $"windows of {context} tokens with {engine.VocabularySize} logits each are too large to compare; "
                + $"use --context {most} or less");
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

    /// <summary>The divergence summed over positions, in nats. Computed and normalized in float64, because the rounding error of float32 is larger than the
    /// smallest divergences.</summary>
    private static double Divergence(Tensor from, Tensor to)
    {
        using var scope = NewDisposeScope();
        var (expected, found) = (from.to(float64).log_softmax(1), to.to(float64).log_softmax(1));
        return (expected.exp() * (expected - found)).sum().item<double>();
    }

    /// <summary>The result of <see cref="Evaluator.Score"/>, computed one token at a time.</summary>
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
