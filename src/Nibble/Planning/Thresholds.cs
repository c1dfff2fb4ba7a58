using Nibble.Models;

namespace Nibble.Planning;

/// <summary>Default limits for the losses of language models, in nats per token.</summary>
internal static class Thresholds
{
    /// <summary>The loss up to which a variant is as good as float: 1 % of perplexity.</summary>
    public static readonly double SmallLoss = Math.Log(1.01);

    /// <summary>The gain over PTQ, beyond the gain of training the float model, that makes training worth its time: 2 % of perplexity.</summary>
    public static readonly double WorthTraining = Math.Log(1.02);

    /// <summary>The loss from which a variant is unusable: 25 % of perplexity.</summary>
    public static readonly double UsableLoss = Math.Log(1.25);
}

/// <summary>Limits for losses over float, in the unit of a task (<see cref="LossUnit"/>).</summary>
/// <param name="Small">The loss up to which a variant is as good as float; above 0.</param>
/// <param name="WorthTraining">The gain over PTQ, beyond the gain of training the float model, that makes training worth its time.</param>
/// <param name="Usable">The loss from which a variant is unusable.</param>
internal sealed record LossLimits(double Small, double WorthTraining, double Usable)
{
    /// <summary>Squared errors have the scale of the data, so limits are shares of the float model's error. This replaces an error of zero.</summary>
    private const double LeastSquaredError = 1e-6;

    /// <summary>The default limits.</summary>
    /// <param name="task">The task; null means language modelling.</param>
    /// <param name="floatLoss">The float model's loss, used only for regression.</param>
    public static LossLimits For(ModelTask? task, double floatLoss) => task switch
    {
        ModelTask.Regression when Math.Max(floatLoss, LeastSquaredError) is var error => new LossLimits(0.01 * error, 0.02 * error, 0.25 * error),
        ModelTask.Embedding => new LossLimits(0.01, 0.02, 0.1),
        ModelTask.Classification => new LossLimits(0.01, 0.02, 0.2),
        _ => new LossLimits(Thresholds.SmallLoss, Thresholds.WorthTraining, Thresholds.UsableLoss),
    };
}
