
namespace Nibble.Torch.Training;

/// <summary>Detects an exploding loss, that is, a loss far above the best value of its moving mean for several steps.</summary>
internal sealed class LossGuard
{
    /// <summary>The number of consecutive steps with an excessive loss that count as an explosion. Fewer may be chance.</summary>
    public const int Patience = 5;

    private const double Momentum = 0.1;
    private const double Factor = 3;
    private const double Allowance = 1;

    private double mean = double.NaN;
    private double best = double.PositiveInfinity;

    /// <summary>The number of consecutive steps with an excessive loss so far.</summary>
    public int Excesses { get; private set; }

    /// <summary>The loss above which a step counts as excessive.</summary>
    public double Limit => (Factor * best) + Allowance;

    /// <summary>Whether the loss has exploded.</summary>
    public bool Exploded => Excesses >= Patience;

    /// <summary>Adds the loss of a step.</summary>
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

    /// <summary>The state to store in a checkpoint.</summary>
    public (double Mean, double Best, double Excesses) State
    {
        get => (mean, best, Excesses);
        set => (mean, best, Excesses) = (value.Mean, value.Best, (int)value.Excesses);
    }
}
