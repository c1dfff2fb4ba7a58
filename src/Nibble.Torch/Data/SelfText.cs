using System.Globalization;
using Nibble.Formats.HuggingFace;
using Nibble.Torch.Models;
using Nibble.Torch.Native;
using static TorchSharp.torch;

namespace Nibble.Torch.Data;

/// <summary>Calibration text that the float model writes itself, for where there is no data at hand (LLM-QAT, Liu et al. 2023, section 3.1).</summary>
/// <remarks>
/// A beginning is the token that the tokenizer puts before a text, where it puts one there, then a token drawn with equal probability from the
/// vocabulary without those that begin and end a text, then <see cref="GreedyTokens"/> tokens that are the likeliest each, which lead from
/// the random token into text the model knows; all further tokens are drawn from the model's whole distribution at temperature 1. In the
/// paper a text ends with its end token. Here all windows have one length: where the model draws the end or the beginning token, a
/// new beginning follows in the same window, and what came before stays in the context.
/// <para>The model is held as a whole, unlike in the quantization itself: its text cannot be had block by block.</para>
/// </remarks>
public static class SelfText
{
    /// <summary>What the text is called.</summary>
    public const string Name = "self";

    /// <summary>Tokens of a beginning that are the likeliest; the paper takes 3 to 5.</summary>
    public const int GreedyTokens = 4;

    /// <summary>More than any training looks at; an array holds twice as many.</summary>
    private const int MostTokens = 1_000_000_000;

    /// <summary>Bytes of keys and values that windows sampled together may take.</summary>
    private const long CacheLimit = 256L << 20;

    /// <summary>Samples windows.</summary>
    /// <param name="model">The float model; its device is used.</param>
    /// <param name="tokenizer">The model's tokenizer.</param>
    /// <param name="windows">Windows, at least 1.</param>
    /// <param name="length">Tokens in a window, at least 2.</param>
    /// <param name="seed">Drives everything drawn: the same seed, model, size and thread count give the same text.</param>
    /// <param name="progress">Told after each position of the windows that are sampled together; counts tokens.</param>
    /// <param name="cancellation">Stops between positions.</param>
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
                $"{Name}: windows of {length} tokens were asked for, expected at most the model's context of {model.Definition.MaxSequence}");
        }

        if ((long)windows * length > MostTokens)
        {
            throw new NibbleException(string.Create(
                CultureInfo.InvariantCulture,
                $"{Name}: {windows:N0} windows of {length} tokens were asked for, expected at most {MostTokens:N0} tokens in all"));
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

    /// <summary>Decides which token comes next.</summary>
    /// <remarks>The age of a window is how many tokens its latest beginning has so far, counted as if there were a beginning token.</remarks>
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

        /// <summary>For each window the likeliest next token, and one drawn from the distribution.</summary>
        public (long[] Likeliest, long[] Drawn) Draw(IDecoder model, long[] last, KeyValueCache cache)
        {
            var device = model.Embedding.device;

            // A model may have more embeddings than its tokenizer has tokens.
            var logits = model.Logits(tensor(last, last.Length, 1, device: device), cache).select(1, 0).narrow(1, 0, tokenizer.VocabularySize);
            var sums = logits.to(float64).softmax(1).cumsum(1);
            var totals = sums.narrow(1, tokenizer.VocabularySize - 1, 1);
            if (!totals.isfinite().all().item<bool>())
            {
                throw new NibbleException($"{Name}: the model's logits are NaN or infinite, so it can write no calibration text; give a text");
            }

            var shares = new double[last.Length];
            for (var row = 0; row < shares.Length; row++)
            {
                shares[row] = random.NextDouble();
            }

            var drawn = sums.le(tensor(shares, shares.Length, 1, device: device) * totals).sum(1).clamp_max(tokenizer.VocabularySize - 1);
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
