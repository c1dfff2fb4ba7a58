using Nibble.Formats.HuggingFace;
using Nibble.Torch.Models;
using Nibble.Torch.Native;
using static TorchSharp.torch;

namespace Nibble.Torch.Evaluation.Questions;

/// <summary>Scores continuations with a decoder in libtorch, float or with its quantization simulated.</summary>
/// <remarks>
/// The context of several continuations is computed once, and so is what it shares with the context before it, such as examples. Its keys and values are
/// kept in a cache. The continuations are one batch. Those that are shorter are filled up at the end, which no earlier position depends on.
/// </remarks>
/// <param name="model">The model. The caller keeps ownership.</param>
/// <param name="tokenizer">Its tokenizer.</param>
internal sealed class SimulatedContinuations(IDecoder model, TextTokenizer tokenizer) : IContinuationScorer, IDisposable
{
    private KeyValueCache cache = new(model.Definition.Layers);
    private IReadOnlyList<int> cached = [];

    /// <summary>The number of tokens of a context that are computed at once. Each has logits for the whole vocabulary. Default: 512.</summary>
    public int PieceTokens { get; init; } = 512;

    /// <summary>The maximum number of logits of a batch of more than one continuation. Default: 2^27, 512 MiB.</summary>
    public long BatchLogits { get; init; } = 1 << 27;

    /// <inheritdoc/>
    public int MaxSequence => model.Definition.MaxSequence;

    /// <inheritdoc/>
    public int[] Encode(string text) => TextGenerator.Encode(tokenizer, text);

    /// <inheritdoc/>
    public IReadOnlyList<ContinuationScore> Score(IReadOnlyList<int> context, IReadOnlyList<int[]> continuations)
    {
        ArgumentNullException.ThrowIfNull(context);
        ArgumentNullException.ThrowIfNull(continuations);
        ArgumentOutOfRangeException.ThrowIfZero(context.Count);
        using var guard = no_grad();
        using var scope = NewDisposeScope();
        var first = Context(context);
        var scores = new ContinuationScore[continuations.Count];
        var longer = new List<int>();
        for (var i = 0; i < scores.Length; i++)
        {
            scores[i] = Sum(first, continuations[i].AsSpan(0, 1));
            if (continuations[i].Length > 1)
            {
                longer.Add(i);
            }
        }

        foreach (var rows in Batches(longer, continuations))
        {
            Continue(context, continuations, rows, scores);
        }

        return scores;
    }

    /// <inheritdoc/>
    public void Dispose() => cache.Dispose();

    /// <summary>Computes a context into the cache. Returns the log-probabilities of the token after it, [1, vocabulary].</summary>
    private Tensor Context(IReadOnlyList<int> context)
    {
        // The last token is always computed, because its logits are needed.
        var kept = 0;
        while (kept < Math.Min(cached.Count, context.Count - 1) && cached[kept] == context[kept])
        {
            kept++;
        }

        var beginning = cache.Fork(kept, rows: 1);
        cache.Dispose();
        cache = beginning;
        cached = [];
        var last = empty(0);
        for (var at = kept; at < context.Count; at += PieceTokens)
        {
            using var pause = CollectorPause.Begin();
            using var scope = NewDisposeScope();
            var ids = Ids(context.Skip(at).Take(PieceTokens));
            var logits = model.Logits(ids, cache);
            Overflow.Refuse(logits, model.Linears(), () => model.Logits(Ids(context)));
            last = logits[0].narrow(0, ids.shape[1] - 1, 1).log_softmax(1).MoveToOuterDisposeScope();
        }

        cached = context;
        return last;
    }

    /// <summary>Adds the scores of all tokens but the first of some continuations of the cached context.</summary>
    private void Continue(IReadOnlyList<int> context, IReadOnlyList<int[]> continuations, int[] rows, ContinuationScore[] scores)
    {
        using var pause = CollectorPause.Begin();
        using var scope = NewDisposeScope();
        using var branch = cache.Fork(context.Count, rows.Length);
        var length = rows.Max(row => continuations[row].Length) - 1;
        var ids = new long[rows.Length * length];
        for (var i = 0; i < rows.Length; i++)
        {
            for (var position = 0; position < continuations[rows[i]].Length - 1; position++)
            {
                ids[(i * length) + position] = continuations[rows[i]][position];
            }
        }

        var logits = model.Logits(tensor(ids, rows.Length, length), branch);
        for (var i = 0; i < rows.Length; i++)
        {
            var tokens = continuations[rows[i]];
            var own = logits[i].narrow(0, 0, tokens.Length - 1);
            Overflow.Refuse(own, model.Linears(), () => model.Logits(Ids([.. context, .. tokens[..^1]])));
            var further = Sum(own.log_softmax(1), tokens.AsSpan(1));
            var before = scores[rows[i]];
            scores[rows[i]] = new ContinuationScore(before.LogLikelihood + further.LogLikelihood, before.IsGreedy && further.IsGreedy);
        }
    }

    /// <summary>The score of tokens from the log-probabilities at each, [tokens, vocabulary].</summary>
    private static ContinuationScore Sum(Tensor logProbabilities, ReadOnlySpan<int> tokens)
    {
        using var scope = NewDisposeScope();
        var targets = tensor(tokens.ToArray()).to(int64);
        var sum = logProbabilities.gather(1, targets.unsqueeze(1)).sum(ScalarType.Float64).item<double>();
        return new ContinuationScore(sum, logProbabilities.argmax(1).eq(targets).all().item<bool>());
    }

    /// <summary>Divides continuations into batches of similar length.</summary>
    private IEnumerable<int[]> Batches(IEnumerable<int> rows, IReadOnlyList<int[]> continuations)
    {
        var batch = new List<int>();
        foreach (var row in rows.OrderByDescending(row => continuations[row].Length))
        {
            // The first row is the longest.
            if (batch.Count > 0 && (batch.Count + 1L) * continuations[batch[0]].Length * model.Definition.VocabularySize > BatchLogits)
            {
                yield return [.. batch];
                batch.Clear();
            }

            batch.Add(row);
        }

        if (batch.Count > 0)
        {
            yield return [.. batch];
        }
    }

    private static Tensor Ids(IEnumerable<int> tokens)
    {
        long[] ids = [.. tokens.Select(id => (long)id)];
        return tensor(ids, 1, ids.Length);
    }
}
