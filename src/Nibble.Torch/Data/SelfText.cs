using System.Globalization;
using Nibble.Formats.HuggingFace;
using Nibble.Torch.Models;
using Nibble.Torch.Native;
using static TorchSharp.torch;

namespace Nibble.Torch.Data;

/// <summary>Calibration text that the float model generates itself, for use without data (LLM-QAT, Liu et al. 2023, section 3.1).</summary>
/// <remarks>
/// A text starts with the tokenizer's start token, if it has one, and a token drawn uniformly from the vocabulary without start and end tokens. The next
/// <see cref="GreedyTokens"/> tokens are the most likely ones, which lead from the random token into text that the model knows. All further tokens are
/// drawn from the model's full distribution at temperature 1. In the paper, a text ends with its end token. Here all windows have the same length: if the
/// model draws a start or end token, a new text starts in the same window, and the earlier text stays in the context.
/// <para>Unlike quantization itself, this needs the whole model in memory, because text cannot be generated block by block.</para>
/// </remarks>
public static class SelfText
{
    /// <summary>The name of the text in messages.</summary>
    public const string Name = "self";

    /// <summary>The number of most likely tokens at the start of a text. The paper uses 3 to 5.</summary>
    public const int GreedyTokens = 4;

    /// <summary>More than any training run uses. An array can hold twice as many.</summary>
    private const int MostTokens = 1_000_000_000;

    /// <summary>The maximum size in bytes of the keys and values of windows that are sampled together.</summary>
    private const long CacheLimit = 256L << 20;

    /// <summary>Samples windows.</summary>
    /// <param name="model">The float model. Sampling runs on its device.</param>
    /// <param name="tokenizer">The model's tokenizer.</param>
    /// <param name="windows">The number of windows, at least 1.</param>
    /// <param name="length">Tokens per window, at least 2.</param>
    /// <param name="seed">The seed for all random choices. The same seed, model, size and thread count give the same text.</param>
    /// <param name="progress">Receives progress, in tokens, after each position of the windows that are sampled together.</param>
    /// <param name="cancellation">Cancels between positions.</param>
    /// <returns><paramref name="windows"/> x <paramref name="length"/> tokens, window after window.</returns>
    /// <exception cref="NibbleException">The windows are longer than the model's context, or the model's logits are not finite.</exception>
    public static TokenizedText Sample(
        IDecoder model,
        TextTokenizer tokenizer,
        int windows,
        int length,
        long seed,
        IProgress<RunProgress>? progress = null,
        CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(model);
        ArgumentNullException.ThrowIfNull(tokenizer);
        ArgumentOutOfRangeException.ThrowIfLessThan(windows, 1);
        ArgumentOutOfRangeException.ThrowIfLessThan(length, 2);
        if (length > model.Definition.MaxSequence)
        {
            throw new NibbleException(
                $"{Name}: the windows have {length} tokens, expected at most the model's context of {model.Definition.MaxSequence}");
        }

        if ((long)windows * length > MostTokens)
        {
            throw new NibbleException(string.Create(
                CultureInfo.InvariantCulture,
                $"{Name}: {windows:N0} windows of {length} tokens are too many, expected at most {MostTokens:N0} tokens in total"));
        }

        var writer = new Writer(tokenizer, SeededRandom.Create(seed));
        var ids = new int[windows * length];
        var together = (int)Math.Clamp(CacheLimit / WindowBytes(model, length), 1, windows);
        using var guard = no_grad();
        for (var first = 0; first < windows; first += together)
        {
            var rows = Math.Min(together, windows - first);
            var ages = writer.Begin(rows);
            var last = new long[rows];
            using var cache = new KeyValueCache(model.Definition.Layers);
            for (var position = 0; position < length; position++)
            {
                cancellation.ThrowIfCancellationRequested();
                using var pause = CollectorPause.Begin();
                using var scope = NewDisposeScope();
                var (likeliest, drawn) = position == 0 ? (last, last) : writer.Draw(model, last, cache);
                for (var row = 0; row < rows; row++)
                {
                    last[row] = writer.Choose(ref ages[row], likeliest[row], drawn[row]);
                    ids[((first + row) * length) + position] = (int)last[row];
                }

                progress?.Report(new RunProgress("sample", ((long)first * length) + ((long)rows * (position + 1)), ids.Length));
            }
        }

        return new TokenizedText(Name, ids, tokenizer.StartId);
    }

    private static long WindowBytes(IDecoder model, int length) => 2L * sizeof(float) * length
        * model.Blocks.OfType<IKeyValueBlock>().Sum(block => (long)block.KeyValueHeads.Heads * block.KeyValueHeads.Size);

    /// <summary>Chooses the next token.</summary>
    /// <remarks>The age of a window is the number of tokens in its latest text so far, counted as if there were always a start token.</remarks>
    private sealed class Writer(TextTokenizer tokenizer, Random random)
    {
        private readonly HashSet<int> marks = MarksOf(tokenizer);
        private readonly int[] openings = [.. Enumerable.Range(0, tokenizer.VocabularySize).Except(MarksOf(tokenizer))];

        private static HashSet<int> MarksOf(TextTokenizer tokenizer) =>
            [.. tokenizer.StopIds, .. new[] { tokenizer.BosId, tokenizer.EosId, tokenizer.StartId }.OfType<int>()];

        public int[] Begin(int rows)
        {
            var ages = new int[rows];
            Array.Fill(ages, tokenizer.StartId is null ? 1 : 0);
            return ages;
        }

        /// <summary>For each window, the most likely next token and one drawn from the distribution.</summary>
        public (long[] Likeliest, long[] Drawn) Draw(IDecoder model, long[] last, KeyValueCache cache)
        {
            var device = model.Embedding.device;

            // A model may have more embeddings than its tokenizer has tokens.
            var logits = model.Logits(tensor(last, last.Length, 1, device: device), cache).select(1, 0).narrow(1, 0, tokenizer.VocabularySize);
            var sums = logits.to(float64).softmax(1).cumsum(1);
            var totals = sums.narrow(1, tokenizer.VocabularySize - 1, 1);
            if (!totals.isfinite().all().item<bool>())
            {
                throw new NibbleException($"{Name}: the model's logits are NaN or infinite, so it cannot generate calibration text. Provide a text");
            }

            var shares = new double[last.Length];
            for (var row = 0; row < shares.Length; row++)
            {
                shares[row] = random.NextDouble();
            }

            var drawn = sums.le(tensor(shares, shares.Length, 1, device: device) * totals).sum(1).ClampMax(tokenizer.VocabularySize - 1);
            return (logits.argmax(1).cpu().data<long>().ToArray(), drawn.cpu().data<long>().ToArray());
        }

        public long Choose(ref int age, long likeliest, long drawn)
        {
            switch (age++)
            {
                case 0:
                    return tokenizer.StartId!.Value;
                case 1:
                    return openings[random.Next(openings.Length)];
                case var written:
                    var id = written < 2 + GreedyTokens ? likeliest : drawn;
                    if (!marks.Contains((int)id))
                    {
                        return id;
                    }

                    age = 1;
                    return tokenizer.StartId ?? id;
            }
        }
    }
}
