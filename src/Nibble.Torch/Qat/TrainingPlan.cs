using Nibble.Torch.Native;
using Nibble.Torch.Training;
using Nibble.Recipes;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace Nibble.Torch.Qat;

/// <summary>
/// The consequences of training settings for any module: learning rates, dampening, and the step from which the quantization has its final form.
/// </summary>
internal static class TrainingPlan
{
    /// <summary>The parameters, grouped by their learning rate.</summary>
    /// <param name="module">The module to train.</param>
    /// <param name="prepared">Its quantizers. Null trains it in float.</param>
    /// <param name="settings">The training settings.</param>
    public static IReadOnlyList<ParameterGroup> Groups(nn.Module module, PreparedModel? prepared, QatSettings settings)
    {
        var quantized = (prepared?.Prepared ?? []).Select(layer => layer.Layer.Weight.Handle).ToHashSet();
        var trained = prepared?.WeightParameters ?? module.parameters();
        var floatRate = prepared is null ? settings.LearningRate : settings.FloatLearningRate ?? settings.LearningRate;
        ParameterGroup Group(string name, Func<Parameter, bool> belongs, double rate, double decay) => new(name, [.. trained.Where(belongs)], rate, decay);
        ParameterGroup[] weights = prepared is null || settings.Mode == TrainingMode.Full
            ?
            [
                Group("weights", parameter => quantized.Contains(parameter.Handle), settings.LearningRate, settings.WeightDecay),
                Group("matrices", parameter => parameter.dim() > 1 && !quantized.Contains(parameter.Handle), floatRate, settings.WeightDecay),
                Group("vectors", parameter => parameter.dim() <= 1, floatRate, 0),
            ]
            : [new ParameterGroup("adapters", [.. prepared.WeightParameters], settings.LearningRate, settings.WeightDecay)];
        return [.. weights, new ParameterGroup("scales", [.. prepared?.ScaleParameters ?? []], settings.ScaleLearningRate, 0) { Averaged = false }];
    }

    /// <summary>The first step at which everything is quantized in its final form.</summary>
    public static int SettledStep(QatSettings settings)
    {
        var schedule = settings.Schedule;
        var share = Math.Max(schedule.FloatShare + schedule.Gradual + (schedule.AnnealFrom > 0 ? schedule.AnnealingShare : 0), schedule.ActivationDelay);
        return 1 + (int)Math.Ceiling(settings.Steps * share);
    }

    /// <summary>A step's loss, with the penalty that damps oscillation if the settings include it.</summary>
    /// <param name="loss">The loss of the step.</param>
    /// <param name="prepared">The quantizers. Null in float.</param>
    /// <param name="settings">The training settings.</param>
    /// <param name="step">The step, from 1.</param>
    public static Tensor Dampened(Tensor loss, PreparedModel? prepared, QatSettings settings, int step) =>
        prepared is null || settings.Dampening == 0 ? loss : loss.Plus(prepared.Dampening().Times(DampeningWeight(settings, step)));

    /// <summary>The weight of the penalty, which grows along a cosine, so that weights can move freely early on.</summary>
    private static double DampeningWeight(QatSettings settings, int step) => settings.Dampening * (1 - Math.Cos(Math.PI * step / settings.Steps)) / 2;
}
