namespace Nibble.Recipes;

/// <summary>The order in which GPTQ quantizes the columns of a weight, and which columns share a group.</summary>
public enum ActivationOrder
{
    /// <summary>From the first to the last.</summary>
    None,

    /// <summary>By falling diagonal of the Hessian. Groups hold neighbouring columns, and their scales come from the original weights.</summary>
    Weight,

    /// <summary>By falling diagonal of the Hessian. A group holds columns that are consecutive in that order, and the file stores each column's group
    /// (<c>weight_g_idx</c>).</summary>
    Group,
}

/// <summary>How post-training quantization runs.</summary>
public sealed record PtqSettings
{
    /// <summary>Windows of calibration text, at least 1. Default: 64.</summary>
    public int Windows { get; init; } = 64;

    /// <summary>Tokens in a window, at least 2. Default: 256.</summary>
    public int SequenceLength { get; init; } = 256;

    /// <summary>GPTQ and GPTAQ: what is added to the Hessian's diagonal, as a share of its mean, above 0 to 1. Default: 0.01.</summary>
    public double Dampening { get; init; } = 0.01;

    /// <summary>GPTQ and GPTAQ: the order of the columns. Default: <see cref="ActivationOrder.Weight"/>.</summary>
    public ActivationOrder ActivationOrder { get; init; } = ActivationOrder.Weight;

    /// <summary>GPTAQ: the share of the difference from the float model's outputs that is corrected, above 0 to 1. Default: 0.75.</summary>
    public double Asymmetry { get; init; } = 0.75;

    /// <summary>Whether a layer is calibrated on the outputs of the quantized layers before it in its block. Between blocks it always is. Default:
    /// true.</summary>
    public bool Sequential { get; init; } = true;

    /// <summary>AWQ and SmoothQuant: the number of exponents tried between 0 and 1, at least 1. Default: 20.</summary>
    public int ScalingGrid { get; init; } = 20;

    /// <summary>AdaRound and SignRound: optimizer steps per block, at least 1. Default: 200.</summary>
    public int LearningSteps { get; init; } = 200;

    /// <summary>AdaRound and SignRound: windows per step, at least 1. Default: 8.</summary>
    public int LearningBatch { get; init; } = 8;

    /// <summary>AdaRound and SignRound: the peak learning rate, above 0. Default: 0.005.</summary>
    public double LearningRate { get; init; } = 5e-3;

    /// <summary>Rejects invalid settings.</summary>
    /// <exception cref="ArgumentOutOfRangeException">A setting is outside its documented range.</exception>
    public void Validate()
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(Windows, 1);
        ArgumentOutOfRangeException.ThrowIfLessThan(SequenceLength, 2);
        ArgumentOutOfRangeException.ThrowIfLessThan(ScalingGrid, 1);
        ArgumentOutOfRangeException.ThrowIfLessThan(LearningSteps, 1);
        ArgumentOutOfRangeException.ThrowIfLessThan(LearningBatch, 1);
        Within(Dampening, 1, nameof(Dampening));
        Within(Asymmetry, 1, nameof(Asymmetry));
        Within(LearningRate, float.MaxValue, nameof(LearningRate));
    }

    private static void Within(double value, double max, string name)
    {
        if (!(value > 0 && value <= max))
        {
            throw new ArgumentOutOfRangeException(name, value, $"{name} is {value}, expected above 0 to {max}.");
        }
    }
}
