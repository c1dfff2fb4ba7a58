
namespace Nibble.Torch.Data;

/// <summary>The batches of a training run. Each depends only on the seed and its number, so that a run can resume anywhere.</summary>
/// <remarks>
/// Every epoch has its own order, in which each text occurs once. Texts are shuffled and sorted by length within pools of 16 batches, then the batches are
/// shuffled. This puts texts of similar length together, which halves the padding. No two epochs have the same batches.
/// </remarks>
internal sealed class ShuffledBatches : ITrainingBatches
{
    private const int Pool = 16;

    private readonly TextData data;
    private readonly int batchSize;
    private readonly long seed;
    private (long Epoch, int[][] Batches) current = (-1, []);

    /// <summary>Creates an order of the data.</summary>
    /// <param name="data">The data.</param>
    /// <param name="batchSize">Texts per batch. The last batch of an epoch may have fewer.</param>
    /// <param name="seed">The seed of the order and of the masked words.</param>
    public ShuffledBatches(TextData data, int batchSize, long seed)
    {
        ArgumentNullException.ThrowIfNull(data);
        ArgumentOutOfRangeException.ThrowIfLessThan(batchSize, 1);
        this.data = data;
        this.batchSize = batchSize;
        this.seed = seed;
    }

    /// <summary>Batches per epoch.</summary>
    public int PerEpoch => (data.Sequences.Count + batchSize - 1) / batchSize;

    /// <inheritdoc/>
    public double StepsPerEpoch => PerEpoch;

    /// <summary>
    /// The share of words, 0 to less than 1, that are replaced by the mask token. Masking keeps a small model from memorizing texts.
    /// </summary>
    /// <exception cref="NibbleException">The share is above 0, but the tokenizer has no mask token.</exception>
    public double MaskedShare
    {
        get;
        init
        {
            ArgumentOutOfRangeException.ThrowIfNegative(value);
            ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual(value, 1);
            field = value == 0 || data.MaskId is not null
                ? value
                : throw new NibbleException(
                    $"{data.Name}: training masks words, but the tokenizer has no mask token. Set the masked share to 0");
        }
    }

    /// <inheritdoc/>
    public TrainingBatch At(int step, int part, int parts)
    {
        var rows = TextsOf(step - 1);
        if (parts > 1)
        {
            // The last batch of an epoch may have fewer texts than there are parts.
            var size = Math.Max(1, (rows.Length + parts - 1) / parts);
            var first = Math.Min(part * size, rows.Length - 1);
            rows = rows[first..Math.Min(first + size, rows.Length)];
        }

        var random = SeededRandom.Create(seed, ~(long)(step - 1));
        return Batch(rows, MaskedShare > 0 ? () => random.NextDouble() < MaskedShare : null);
    }

    /// <inheritdoc/>
    public IEnumerable<TrainingBatch> InOrder(int rows) =>
        Enumerable.Range(0, data.Sequences.Count).OrderBy(row => data.Sequences[row].Ids.Length).Chunk(rows).Select(chunk => Batch(chunk, null));

    /// <summary>The indices of a batch's texts.</summary>
    /// <param name="index">The batch's number in the run, from 0.</param>
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

    private TrainingBatch Batch(int[] rows, Func<bool>? hide) =>
        new(data.Batch(rows, hide), data.Targets?.Count == data.Sequences.Count ? data.TargetsOf(rows) : null, rows);

    private int[][] Order(Random random)
    {
        var indices = Enumerable.Range(0, data.Sequences.Count).ToArray();
        random.Shuffle(indices);
        var batches = indices
            .Chunk(batchSize * Pool)
            .SelectMany(pool => pool.OrderBy(index => data.Sequences[index].Ids.Length).Chunk(batchSize))
            .ToArray();
        random.Shuffle(batches);
        return batches;
    }
}
