using Nibble.Torch;
using Nibble.Torch.Data;
using Nibble.Torch.Evaluation;
using Nibble.Torch.Models;
using static TorchSharp.torch;

namespace Nibble.Cli.Engines;

/// <summary>How an engine's answers differ from the simulation's.</summary>
/// <param name="Windows">Windows of text scored.</param>
/// <param name="Tokens">Positions scored.</param>
/// <param name="Simulated">Perplexity of the simulation.</param>
/// <param name="Engine">Perplexity of the engine.</param>
/// <param name="Divergence">Mean Kullback-Leibler divergence of the engine's predictions from the simulated ones, nats.</param>
/// <param name="LargestDifference">The largest difference between two logits, each window position's shifted to the same normalization.</param>
/// <param name="Agreement">Share of the positions where both hold the same token likeliest.</param>
/// <param name="Continued">Tokens that both were asked to write, the likeliest one after the other.</param>
/// <param name="SameContinuation">How many of them are the same, up to the first that differs.</param>
internal sealed record EngineDifference(int Windows, long Tokens, double Simulated, double Engine, double Divergence, double LargestDifference, double Agreement, int Continued, int SameContinuation)
{
    /// <summary>The engine's perplexity over the simulated one, less 1.</summary>
    public double PerplexityChange => (Engine / Simulated) - 1;
}

/// <summary>Computes the same text by an engine and by the simulation.</summary>
internal static class EngineComparison
{
    private const int PromptTokens = 8;

    /// <summary>Compares windows of text and a continuation of its beginning.</summary>
    /// <param name="model">The model as Nibble simulates it.</param>
    /// <param name="engine">The same model in the engine.</param>
    /// <param name="text">The text.</param>
    /// <param name="context">Tokens of a window.</param>
    /// <param name="windows">Windows to score at most; null for all.</param>
    /// <param name="continued">Tokens to continue the text's beginning by.</param>
    /// <param name="progress">Told after each window.</param>
    /// <param name="cancellation">Stops between windows.</param>
    /// <exception cref="NibbleException">The text is shorter than a window, or the engine sees another vocabulary.</exception>
    public static EngineDifference Run(LoadedModel model, LlamaCppEngine engine, TokenizedText text, int context, int? windows, int continued, IProgress<RunProgress>? progress, CancellationToken cancellation)
    {
        if (engine.VocabularySize != model.Model.Config.VocabularySize)
        {
            throw new NibbleException($"the engine sees a vocabulary of {engine.VocabularySize} tokens, expected the model's {model.Model.Config.VocabularySize}");
        }

        text.RequireWindow(context);
        var count = Math.Min(text.WindowCount(context), windows ?? int.MaxValue);
        var first = context / 2;
        var scored = context - first - 1;
        double simulated = 0, computed = 0, divergence = 0, largest = 0;
        long agreements = 0;
        using var guard = no_grad();
        for (var i = 0; i < count; i++)
        {
            cancellation.ThrowIfCancellationRequested();
            using var scope = NewDisposeScope();
            var window = text.Window(i * context, context);
            var ours = Evaluator.Score(model.Model, tensor(window, 1, context), first);
            var theirs = tensor(engine.Score(Array.ConvertAll(window, id => (int)id), first), scored, engine.VocabularySize).log_softmax(1);
            var targets = tensor(window)[(first + 1)..].unsqueeze(1);
            simulated -= ours.gather(1, targets).sum(ScalarType.Float64).item<double>();
            computed -= theirs.gather(1, targets).sum(ScalarType.Float64).item<double>();
            divergence += (ours.exp() * (ours - theirs)).sum(ScalarType.Float64).item<double>();
            largest = Math.Max(largest, (ours - theirs).abs().max().item<float>());
            agreements += ours.argmax(1).eq(theirs.argmax(1)).sum().item<long>();
            progress?.Report(new RunProgress("compare", i + 1, count));
        }

        var tokens = (long)count * scored;
        int[] prompt = [.. text.Window(0, PromptTokens).Select(id => (int)id)];
        var length = Math.Min(continued, context - PromptTokens);
        var (expected, found) = (TextGenerator.Continue(model.Model, prompt, length, cancellation), engine.Continue(prompt, length));
        var same = expected.Zip(found).TakeWhile(pair => pair.First == pair.Second).Count();
        return new EngineDifference(count, tokens, Math.Exp(simulated / tokens), Math.Exp(computed / tokens), divergence / tokens, largest, (double)agreements / tokens, length, same);
    }
}
