
namespace Nibble.Torch.Training;

/// <summary>Notices a loss that explodes: well above the best that its moving mean has been, for several steps.</summary>
internal sealed class LossGuard
{
    /// <summary>Steps in a row that one loss may be too high by chance.</summary>
    public const int Patience = 5;

    private const double Momentum = 0.1;
    private const double Factor = 3;
    private const double Allowance = 1;

    private double mean = double.NaN;
    private double best = double.PositiveInfinity;

    /// <summary>Steps in a row whose loss was too high.</summary>
    public int Excesses { get; private set; }

    /// <summary>The loss from which on it is too high.</summary>
    public double Limit => (Factor * best) + Allowance;

    /// <summary>Whether the loss has exploded.</summary>
    public bool Exploded => Excesses >= Patience;

    /// <summary>Takes the loss of a step.</summary>
    public void Add(double loss)
    {
        if (loss > Limit)
        {
            Excesses++;
            return;
        }

        Excesses = 0;
        mean = double.IsNaN(mean) ? loss : mean + (Momentum * (loss - mean));
        best = Math.Min(best, mean);
    }

    /// <summary>What a checkpoint holds of it.</summary>
    public (double Mean, double Best, double Excesses) State
    {
        get => (mean, best, Excesses);
        set => (mean, best, Excesses) = (value.Mean, value.Best, (int)value.Excesses);
    }
}
