namespace Nibble.Torch.Data;

/// <summary>Where the windows of each training step begin: places drawn at random, the same for a step however it is reached.</summary>
/// <param name="text">The text, at least one window long.</param>
/// <param name="length">Tokens in a window.</param>
/// <param name="batch">Windows in a step.</param>
/// <param name="seed">Drives the places.</param>
internal sealed class RandomWindows(TokenizedText text, int length, int batch, long seed)
{
    private readonly int[] starts = new int[batch];
    private Random random = SeededRandom.Create(seed);
    private int drawn;

    public TokenizedText Text => text;

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
