using Nibble.Recipes;
using Nibble.Torch.Layers;
using Nibble.Torch.Models;
using Nibble.Torch.Native;
using static TorchSharp.torch;
using F = TorchSharp.torch.nn.functional;

namespace Nibble.Torch.Qat;

/// <summary>A model's output for a batch.</summary>
/// <param name="Output">The output of its task.</param>
/// <param name="Blocks">The output of each block, [batch, length, hidden]. Empty if not needed.</param>
internal sealed record Prediction(Tensor Output, IReadOnlyList<Tensor> Blocks)
{
    /// <summary>Runs a model.</summary>
    public static Prediction Of(IQuantizableModel model, ModelBatch batch, bool blocks)
    {
        var outputs = new List<Tensor>();
        return new Prediction(model.Compute(batch, blocks ? outputs : null), outputs);
    }
}

/// <summary>The losses of a student that learns from a teacher's predictions (Hinton et al. 2015) and from the outputs of its blocks.</summary>
internal static class DistillationLoss
{
    /// <summary>A probability too small to show in float32 differences from 1.</summary>
    private const float Negligible = 1e-6f;

    /// <summary>
    /// The loss of a batch: a weighted sum of the divergence from the teacher and the student's own loss, plus the error of the blocks' outputs.
    /// </summary>
    /// <param name="divergence">The divergence from the teacher's predictions.</param>
    /// <param name="own">Computes the student's own loss on the data. Called only if it has a weight.</param>
    /// <param name="blockError">Computes the error of the blocks' outputs. Called only if it has a weight.</param>
    /// <param name="settings">The weights of the terms.</param>
    public static Tensor Of(Tensor divergence, Func<Tensor> own, Func<Tensor> blockError, DistillationSettings settings)
    {
        using var scope = NewDisposeScope();
        var loss = divergence.Times(settings.Weight);
        if (settings.Weight < 1)
        {
            loss = loss.Plus(own().Times(1 - settings.Weight));
        }

        if (settings.Hidden > 0)
        {
            loss = loss.Plus(blockError().Times(settings.Hidden));
        }

        return loss.MoveToOuterDisposeScope();
    }

    /// <summary>
    /// <c>T^2 KL(teacher || student)</c> at temperature T, from a teacher's cached predictions. The tokens missing in the cache count as one token with the
    /// remaining probability.
    /// </summary>
    public static Tensor Divergence(Tensor student, TeacherPrediction teacher, double temperature)
    {
        using var scope = NewDisposeScope();
        var actual = student.DividedBy(temperature).reshape(-1, student.shape[^1]).log_softmax(1);
        var factor = temperature * temperature / actual.shape[0];
        if (teacher.Tokens is null)
        {
            // After rounding, the probabilities do not quite add up to 1.
            return F.kl_div(actual, teacher.LogProbabilities.log_softmax(1), log_target: true, reduction: nn.Reduction.Sum).Times(factor)
                .MoveToOuterDisposeScope();
        }

        var likeliest = actual.gather(1, teacher.Tokens);
        var probabilities = teacher.LogProbabilities.exp();
        var rest = probabilities.sum(1).SubtractedFrom(1).ClampMin(Negligible);
        var actualRest = likeliest.exp().sum(1).SubtractedFrom(1).ClampMin(Negligible);
        var sum = (probabilities * (teacher.LogProbabilities - likeliest)).sum().Plus((rest * (rest.log() - actualRest.log())).sum());
        return sum.Times(factor).MoveToOuterDisposeScope();
    }

    /// <summary>
    /// The mean squared error of each block's output relative to the teacher's mean square, summed over the blocks. Padding is excluded.
    /// </summary>
    public static Tensor BlockError(IReadOnlyList<Tensor> student, IReadOnlyList<Tensor> teacher, Tensor? mask)
    {
        using var scope = NewDisposeScope();
        var sum = zeros_like(student[0].detach().sum());
        using var pass = TokenMask.Begin(mask);
        foreach (var (actual, expected) in student.Zip(teacher))
        {
            sum = sum.Plus(TokenMask.Select(actual - expected).Square().mean() / TokenMask.Select(expected).Square().mean());
        }

        return sum.MoveToOuterDisposeScope();
    }
}
