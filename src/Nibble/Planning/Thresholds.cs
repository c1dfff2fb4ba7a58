using Nibble.Models;

namespace Nibble.Planning;

/// <summary>Losses of language models, in nats per token, that divide good from bad where the user names none.</summary>
internal static class Thresholds
{
    /// <summary>The loss up to which a variant is as good as float: 1 % of perplexity.</summary>
    public static readonly double SmallLoss = Math.Log(1.01);

    /// <summary>What training must win over PTQ, beyond what training alone gains, to be worth its time: 2 % of perplexity.</summary>
    public static readonly double WorthTraining = Math.Log(1.02);

    /// <summary>The loss from which a variant is not usable: 25 % of perplexity.</summary>
    public static readonly double UsableLoss = Math.Log(1.25);
}

/// <summary>Losses over float that divide good from bad, in the unit of a task (<see cref="LossUnit"/>).</summary>
/// <param name="Small">The loss up to which a variant is as good as float; above 0.</param>
/// <param name="WorthTraining">What training must win over PTQ, beyond what training alone gains, to be worth its time.</param>
/// <param name="Usable">The loss from which a variant is not usable.</param>
internal sealed record LossLimits(double Small, double WorthTraining, double Usable)
{
    /// <summary>Squared errors have the scale of the data, so that limits are shares of the float model's; this stands for one that errs nowhere.</summary>
    private const double LeastSquaredError = 1e-6;

    /// <summary>The limits where the user names none.</summary>
    /// <param name="task">The task; null is language modelling.</param>
    /// <param name="floatLoss">The float model's loss, which counts for regression alone.</param>
    public static LossLimits For(ModelTask? task, double floatLoss) => task switch
    {
        ModelTask.Regression when Math.Max(floatLoss, LeastSquaredError) is var error => new LossLimits(0.01 * error, 0.02 * error, 0.25 * error),
        ModelTask.Embedding => new LossLimits(0.01, 0.02, 0.1),
        ModelTask.Classification => new LossLimits(0.01, 0.02, 0.2),
        _ => new LossLimits(Thresholds.SmallLoss, Thresholds.WorthTraining, Thresholds.UsableLoss),
    };
}
