using Nibble.Recipes;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace Nibble.Torch.Qat;

/// <summary>The optimizer of training.</summary>
internal static class Optimizers
{
    /// <summary>AdamW (Loshchilov and Hutter 2019) over groups with a learning rate and weight decay of their own; groups without parameters are left out.</summary>
    public static AdamW AdamW(QatSettings settings, IEnumerable<(IReadOnlyList<Parameter> Parameters, double Rate, double Decay)> groups) => optim.AdamW(
        groups.Where(group => group.Parameters.Count > 0).Select(group => new AdamW.ParamGroup(
            group.Parameters,
            new AdamW.Options { LearningRate = group.Rate, InitialLearningRate = group.Rate, beta1 = 0.9, beta2 = 0.95, eps = 1e-8, weight_decay = group.Decay })),
        settings.LearningRate);
}
