namespace Nibble.Torch.Data;

/// <summary>The batches of a training run, each known from the seed and its number alone, so that a run can go on anywhere.</summary>
/// <remarks>
/// Every epoch has its own order, in which each text comes once. Texts are shuffled, sorted by length within pools of 16 batches, and
/// the batches shuffled again: short texts meet short ones, which halves the padding, and no two epochs have the same batches.
/// </remarks>
public sealed class ShuffledBatches
{
    private const int Pool = 16;

    private readonly ClassificationData data;
    private readonly int batchSize;
    private readonly long seed;
    private readonly double maskedShare;
    private (long Epoch, int[][] Batches) current = (-1, []);

    /// <summary>Orders data.</summary>
    /// <param name="data">The data.</param>
    /// <param name="batchSize">Texts in a batch; an epoch's last may have fewer.</param>
    /// <param name="seed">Drives the order and which words are hidden.</param>
    /// <param name="maskedShare">Share of words, 0 to less than 1, that are replaced by the mask token, which keeps a small model from learning texts by heart.</param>
    /// <exception cref="NibbleException">Words are to be hidden, but the tokenizer has no token for that.</exception>
    public ShuffledBatches(ClassificationData data, int batchSize, long seed, double maskedShare = 0)
    {
        ArgumentNullException.ThrowIfNull(data);
        ArgumentOutOfRangeException.ThrowIfLessThan(batchSize, 1);
        ArgumentOutOfRangeException.ThrowIfNegative(maskedShare);
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual(maskedShare, 1);
        if (maskedShare > 0 && data.MaskId is null)
        {
            throw new NibbleException($"{data.Name}: words are to be hidden in training, but the tokenizer has no mask token; train with a masked share of 0");
        }

        this.data = data;
        this.batchSize = batchSize;
        this.seed = seed;
        this.maskedShare = maskedShare;
    }

    /// <summary>Batches in an epoch.</summary>
    public int PerEpoch => (data.Count + batchSize - 1) / batchSize;

    /// <summary>A batch.</summary>
    /// <param name="index">Its number in the run, from 0.</param>
    public ClassificationBatch At(long index)
    {
        var random = SeededRandom.Create(seed, ~index);
        return data.Batch(TextsOf(index), maskedShare > 0 ? () => random.NextDouble() < maskedShare : null);
    }

    /// <summary>Which texts a batch holds.</summary>
    internal int[] TextsOf(long index)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(index);
        var epoch = index / PerEpoch;
        if (current.Epoch != epoch)
        {
            current = (epoch, Order(SeededRandom.Create(seed, epoch)));
        }

        return current.Batches[index % PerEpoch];
    }

    private int[][] Order(Random random)
    {
        var indices = Enumerable.Range(0, data.Count).ToArray();
        random.Shuffle(indices);
        var batches = indices
            .Chunk(batchSize * Pool)
            .SelectMany(pool => pool.OrderBy(index => data.Sequences[index].Length).Chunk(batchSize))
            .ToArray();
        random.Shuffle(batches);
        return batches;
    }
}
