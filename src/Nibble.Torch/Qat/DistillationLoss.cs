using Nibble.Recipes;
using Nibble.Torch.Layers;
using Nibble.Torch.Models;
using static TorchSharp.torch;
using F = TorchSharp.torch.nn.functional;

namespace Nibble.Torch.Qat;

/// <summary>What a model computes of a batch.</summary>
/// <param name="Output">What its task asks for.</param>
/// <param name="Blocks">What each block puts out, [batch, length, hidden]; empty where nothing asks for it.</param>
internal sealed record Prediction(Tensor Output, IReadOnlyList<Tensor> Blocks)
{
    /// <summary>Runs a model.</summary>
    public static Prediction Of(IQuantizableModel model, ModelBatch batch, bool blocks)
    {
        var outputs = new List<Tensor>();
        return new Prediction(model.Compute(batch, blocks ? outputs : null), outputs);
    }
}

/// <summary>The losses of a student that learns from a teacher's predictions (Hinton et al. 2015) and from what its blocks put out.</summary>
internal static class DistillationLoss
{
    /// <summary>A probability that float32 differences from 1 cannot tell from 0.</summary>
    private const float Negligible = 1e-6f;

    /// <summary>The loss of a batch: a share of the divergence from the teacher, the rest its own loss, and the error of the blocks.</summary>
    /// <param name="divergence">The divergence from the teacher's predictions.</param>
    /// <param name="own">The student's own loss on the data; asked for where it counts.</param>
    /// <param name="blockError">The error of the blocks' outputs; asked for where it counts.</param>
    /// <param name="settings">The weights of the parts.</param>
    public static Tensor Of(Tensor divergence, Func<Tensor> own, Func<Tensor> blockError, DistillationSettings settings)
    {
        using var scope = NewDisposeScope();
        var loss = settings.Weight * divergence;
        if (settings.Weight < 1)
        {
            loss = loss + ((1 - settings.Weight) * own());
        }

        if (settings.Hidden > 0)
        {
            loss = loss + (settings.Hidden * blockError());
        }

        return loss.MoveToOuterDisposeScope();
    }

    /// <summary><c>T^2 KL(teacher || student)</c> at temperature T, from what a cache holds of the teacher's predictions: the tokens that it lacks count as
    /// one, whose probability is the rest.</summary>
    public static Tensor Divergence(Tensor student, TeacherPrediction teacher, double temperature)
    {
        using var scope = NewDisposeScope();
        var actual = (student / temperature).reshape(-1, student.shape[^1]).log_softmax(1);
        var factor = temperature * temperature / actual.shape[0];
        if (teacher.Tokens is null)
        {
            // Rounding has left probabilities that do not quite add up to 1.
            return (F.kl_div(actual, teacher.LogProbabilities.log_softmax(1), log_target: true, reduction: nn.Reduction.Sum) * factor)
                .MoveToOuterDisposeScope();
        }

        var likeliest = actual.gather(1, teacher.Tokens);
        var probabilities = teacher.LogProbabilities.exp();
        var rest = (1 - probabilities.sum(1)).clamp_min(Negligible);
        var actualRest = (1 - likeliest.exp().sum(1)).clamp_min(Negligible);
        var sum = (probabilities * (teacher.LogProbabilities - likeliest)).sum() + (rest * (rest.log() - actualRest.log())).sum();
        return (sum * factor).MoveToOuterDisposeScope();
    }

    /// <summary>The mean squared error of each block's output relative to the teacher's mean square, summed over the blocks; padding left out.</summary>
    public static Tensor BlockError(IReadOnlyList<Tensor> student, IReadOnlyList<Tensor> teacher, Tensor? mask)
    {
        using var scope = NewDisposeScope();
        var sum = zeros_like(student[0].detach().sum());
        using var pass = TokenMask.Begin(mask);
        foreach (var (actual, expected) in student.Zip(teacher))
        {
            sum = sum + (TokenMask.Select(actual - expected).square().mean() / TokenMask.Select(expected).square().mean());
        }

        return sum.MoveToOuterDisposeScope();
    }
}
