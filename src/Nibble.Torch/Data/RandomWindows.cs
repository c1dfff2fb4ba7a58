using Nibble.Torch.Models;

namespace Nibble.Torch.Data;

/// <summary>The windows of each training step, at random positions. A step has the same windows however it is reached.</summary>
/// <param name="text">The text, at least one window long.</param>
/// <param name="length">Tokens per window.</param>
/// <param name="batch">Windows per step.</param>
/// <param name="seed">The seed of the positions.</param>
internal sealed class RandomWindows(TokenizedText text, int length, int batch, long seed) : ITrainingBatches
{
    private readonly int[] starts = new int[batch];
    private Random random = SeededRandom.Create(seed);
    private int drawn;

    /// <inheritdoc/>
    public double StepsPerEpoch => text.Ids.Length / ((double)batch * length);

    /// <inheritdoc/>
    public TrainingBatch At(int step, int part, int parts)
    {
        var rows = batch / parts;
        return Batch(Starts(step)[(part * rows)..((part + 1) * rows)]);
    }

    /// <inheritdoc/>
    public IEnumerable<TrainingBatch> InOrder(int rows) =>
        Enumerable.Range(0, text.WindowCount(length)).Select(window => window * length).Chunk(rows).Select(Batch);

    /// <summary>The windows that start at the given positions, and the token that follows each of their tokens.</summary>
    private TrainingBatch Batch(int[] places)
    {
        var tokens = text.Batch(places, length);
        return new TrainingBatch(new ModelBatch(tokens.narrow(1, 0, length - 1)), tokens.narrow(1, 1, length - 1), places);
    }

    /// <summary>The start positions of the windows of a step, from 1. The next call overwrites them.</summary>
    public int[] Starts(int step)
    {
        if (step < drawn)
        {
            (random, drawn) = (SeededRandom.Create(seed), 0);
        }

        // A resumed run repeats the draws of the earlier steps, which is cheaper than saving the generator's state.
        for (; drawn < step; drawn++)
        {
            for (var row = 0; row < batch; row++)
            {
                starts[row] = random.Next(text.Ids.Length - length + 1);
            }
        }

        return starts;
    }
}
