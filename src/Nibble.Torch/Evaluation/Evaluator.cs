using Nibble.Torch.Data;
using Nibble.Torch.Models;
using Nibble.Torch.Native;
using static TorchSharp.torch;

namespace Nibble.Torch.Evaluation;

/// <summary>How well a model predicts a text, and how far it is from its float reference.</summary>
/// <param name="Perplexity">exp of <paramref name="Loss"/>.</param>
/// <param name="Loss">Mean negative log-likelihood, in nats per token.</param>
/// <param name="Windows">The number of scored windows.</param>
/// <param name="Tokens">The number of scored tokens.</param>
/// <param name="Divergence">
/// Mean Kullback-Leibler divergence of the model's next-token distribution from the reference's, in nats. Null without a reference.
/// </param>
/// <param name="Agreement">
/// Share of the scored positions at which model and reference have the same top-1 token, 0 to 1. Null without a reference.
/// </param>
internal sealed record EvaluationResult(double Perplexity, double Loss, int Windows, long Tokens, double? Divergence, double? Agreement)
{
    /// <summary>
    /// Mean negative log-likelihood of each window, in nats per token. Comparing two models on the same windows shows how significant their difference is.
    /// </summary>
    public IReadOnlyList<double> WindowLosses { get; init; } = [];
}

/// <summary>Scores a language model on a text.</summary>
/// <remarks>
/// The text is cut into windows of <c>context</c> tokens. If the tokenizer has a start token, each window starts with it. Predictions at the positions of the
/// second half, <c>context / 2</c> to <c>context - 2</c>, are scored. Each predicts the next token from all earlier tokens in the window. llama.cpp's
/// perplexity tool scores in the same way.
/// </remarks>
internal static class Evaluator
{
    /// <summary>Scores a model.</summary>
    /// <param name="model">The model.</param>
    /// <param name="text">The text.</param>
    /// <param name="context">Tokens per window, at least 4.</param>
    /// <param name="windows">The maximum number of windows to score. Null scores all.</param>
    /// <param name="reference">The float model to compare with. Null for no comparison.</param>
    /// <param name="progress">Receives progress after each window.</param>
    /// <param name="cancellation">Cancels between windows.</param>
    /// <exception cref="NibbleException">The text is shorter than one window, or a model computes NaN or infinite values.</exception>
    public static EvaluationResult Evaluate(
        IDecoder model,
        TokenizedText text,
        int context,
        int? windows = null,
        IDecoder? reference = null,
        IProgress<RunProgress>? progress = null,
        CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(model);
        ArgumentNullException.ThrowIfNull(text);
        ArgumentOutOfRangeException.ThrowIfLessThan(context, 4);
        text.RequireWindow(context);
        var count = Math.Min(text.WindowCount(context), windows ?? int.MaxValue);
        var first = context / 2;
        double loss = 0, divergence = 0;
        var losses = new double[count];
        long agreements = 0;
        using var guard = no_grad();
        for (var i = 0; i < count; i++)
        {
            cancellation.ThrowIfCancellationRequested();
            using var pause = CollectorPause.Begin();
            using var scope = NewDisposeScope();
            var ids = tensor(text.Window(i * context, context), 1, context);
            var targets = ids[0].narrow(0, first + 1, context - first - 1).unsqueeze(1);
            var logProbabilities = Score(model, ids, first);
            var sum = -logProbabilities.gather(1, targets).sum(ScalarType.Float64).item<double>();
            loss += sum;
            losses[i] = sum / (context - first - 1);
            if (reference is not null)
            {
                var expected = Score(reference, ids, first);
                divergence += (expected.exp() * (expected - logProbabilities)).sum(ScalarType.Float64).item<double>();
                agreements += expected.argmax(1).eq(logProbabilities.argmax(1)).sum().item<long>();
            }

            progress?.Report(new RunProgress("evaluate", i + 1, count));
        }

        var tokens = (long)count * (context - first - 1);
        return new EvaluationResult(
            Math.Exp(loss / tokens),
            loss / tokens,
            count,
            tokens,
            reference is null ? null : divergence / tokens,
            reference is null ? null : (double)agreements / tokens)
        {
            WindowLosses = losses,
        };
    }

    /// <summary>Log-probabilities, [scored positions, vocabulary], of the tokens that follow the positions from <paramref name="first"/>.</summary>
    /// <exception cref="NibbleException">The model computes NaN or infinite values. The message names the first layer with such an input.</exception>
    public static Tensor Score(IDecoder model, Tensor ids, int first)
    {
        ArgumentNullException.ThrowIfNull(model);
        ArgumentNullException.ThrowIfNull(ids);
        var logits = model.Logits(ids)[0];
        Overflow.Refuse(logits, model.Linears(), () => model.Logits(ids));
        return logits.narrow(0, first, logits.shape[0] - first - 1).log_softmax(1);
    }
}
