namespace Nibble.Recipes;

/// <summary>In which order GPTQ quantizes the columns of a weight, and which columns then share a group.</summary>
public enum ActivationOrder
{
    /// <summary>From the first to the last.</summary>
    None,

    /// <summary>By falling diagonal of the Hessian; groups hold neighbouring columns, with scales found from the weights as they were at first.</summary>
    Weight,

    /// <summary>By falling diagonal of the Hessian; a group holds columns that follow each other in that order, and the file holds each column's group
    /// (<c>weight_g_idx</c>).</summary>
    Group,
}

/// <summary>How post-training quantization runs.</summary>
public sealed record PtqSettings
{
    /// <summary>Windows of calibration text, at least 1.</summary>
    public int Windows { get; init; } = 64;

    /// <summary>Tokens in a window, at least 2.</summary>
    public int SequenceLength { get; init; } = 256;

    /// <summary>GPTQ and GPTAQ: what is added to the Hessian's diagonal, as a share of its mean.</summary>
    public double Dampening { get; init; } = 0.01;

    /// <summary>GPTQ and GPTAQ: the order of the columns.</summary>
    public ActivationOrder ActivationOrder { get; init; } = ActivationOrder.Weight;

    /// <summary>GPTAQ: how much of the difference from the float model's outputs is made up for, above 0 to 1.</summary>
    public double Asymmetry { get; init; } = 0.75;

    /// <summary>Whether a layer is calibrated on what the quantized layers before it in its block compute; between blocks it always is.</summary>
    public bool Sequential { get; init; } = true;

    /// <summary>AWQ and SmoothQuant: exponents tried between 0 and 1, at least 1.</summary>
    public int ScalingGrid { get; init; } = 20;

    /// <summary>AdaRound and SignRound: optimizer steps a block, at least 1.</summary>
    public int LearningSteps { get; init; } = 200;

    /// <summary>AdaRound and SignRound: windows in a step, at least 1.</summary>
    public int LearningBatch { get; init; } = 8;

    /// <summary>AdaRound and SignRound: the peak learning rate.</summary>
    public double LearningRate { get; init; } = 5e-3;

    /// <summary>Refuses settings that no run could follow.</summary>
    /// <exception cref="ArgumentOutOfRangeException">A setting is outside the range its documentation gives.</exception>
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
