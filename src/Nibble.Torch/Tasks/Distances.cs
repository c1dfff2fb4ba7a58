using Nibble.Torch.Native;
using static TorchSharp.torch;
using F = TorchSharp.torch.nn.functional;

namespace Nibble.Torch.Tasks;

/// <summary>Distances between outputs.</summary>
internal static class Distances
{
    /// <summary>
    /// <c>T^2 KL(teacher || student)</c> at temperature T, averaged over positions. The factor T^2 preserves the gradient's size (Hinton et al. 2015, section
    /// 2).
    /// </summary>
    public static Tensor KullbackLeibler(Tensor student, Tensor teacher, double temperature)
    {
        using var scope = NewDisposeScope();
        var classes = student.shape[^1];
        var expected = teacher.DividedBy(temperature).reshape(-1, classes).log_softmax(1);
        var actual = student.DividedBy(temperature).reshape(-1, classes).log_softmax(1);
        return F.kl_div(actual, expected, log_target: true, reduction: nn.Reduction.Sum).Times(temperature * temperature / expected.shape[0])
            .MoveToOuterDisposeScope();
    }
}
