using Nibble.Torch.Models;

namespace Nibble.Torch.Data;

/// <summary>Where the windows of each training step begin: places drawn at random, the same for a step however it is reached.</summary>
/// <param name="text">The text, at least one window long.</param>
/// <param name="length">Tokens in a window.</param>
/// <param name="batch">Windows in a step.</param>
/// <param name="seed">Drives the places.</param>
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

    /// <summary>Windows that begin at some places, and the tokens that follow each of theirs.</summary>
    private TrainingBatch Batch(int[] places)
    {
        var tokens = text.Batch(places, length);
        return new TrainingBatch(new ModelBatch(tokens.narrow(1, 0, length - 1)), tokens.narrow(1, 1, length - 1), places);
    }

    /// <summary>The first tokens of the windows of a step, from 1; overwritten by the next call.</summary>
    public int[] Starts(int step)
    {
        if (step < drawn)
        {
            (random, drawn) = (SeededRandom.Create(seed), 0);
        }

        // A run that goes on draws what the steps before have drawn: cheaper than a state to be saved.
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
