using Nibble.Recipes;
using Nibble.Torch.Models.Llama;
using static TorchSharp.torch;
using F = TorchSharp.torch.nn.functional;

namespace Nibble.Torch.Qat;

/// <summary>What a model computes of a batch.</summary>
/// <param name="Logits">[batch, length, vocabulary].</param>
/// <param name="Blocks">What each block puts out, [batch, length, hidden]; empty where nothing asks for it.</param>
internal sealed record Prediction(Tensor Logits, IReadOnlyList<Tensor> Blocks)
{
    /// <summary>Runs a model.</summary>
    public static Prediction Of(LlamaModel model, Tensor tokens, bool blocks)
    {
        var outputs = new List<Tensor>();
        return new Prediction(model.Logits(tokens, null, blocks ? outputs : null), outputs);
    }
}

/// <summary>The losses of a student that learns from a teacher's predictions (Hinton et al. 2015) and from what its blocks put out.</summary>
internal static class DistillationLoss
{
    /// <summary>The loss of a batch: a share of the divergence from the teacher, the rest cross-entropy, and the error of the blocks.</summary>
    /// <param name="student">What the student computes.</param>
    /// <param name="teacher">What the teacher computes, without a gradient.</param>
    /// <param name="crossEntropy">The student's cross-entropy with the text; asked for where it counts.</param>
    /// <param name="settings">The weights of the parts.</param>
    public static Tensor Of(Prediction student, Prediction teacher, Func<Tensor> crossEntropy, DistillationSettings settings)
    {
        using var scope = NewDisposeScope();
        var loss = settings.Weight * Divergence(student.Logits, teacher.Logits, settings.Temperature);
        if (settings.Weight < 1)
        {
            loss = loss + ((1 - settings.Weight) * crossEntropy());
        }

        if (settings.Hidden > 0)
        {
            loss = loss + (settings.Hidden * BlockError(student.Blocks, teacher.Blocks));
        }

        return loss.MoveToOuterDisposeScope();
    }

    /// <summary><c>T^2 KL(teacher || student)</c> at temperature T, mean over positions: T^2 keeps the gradient's size (Hinton et al. 2015, section 2).</summary>
    public static Tensor Divergence(Tensor student, Tensor teacher, double temperature)
    {
        using var scope = NewDisposeScope();
        var vocabulary = student.shape[^1];
        var expected = (teacher / temperature).reshape(-1, vocabulary).log_softmax(1);
        var actual = (student / temperature).reshape(-1, vocabulary).log_softmax(1);
        return (F.kl_div(actual, expected, log_target: true, reduction: nn.Reduction.Sum) * (temperature * temperature / expected.shape[0])).MoveToOuterDisposeScope();
    }

    /// <summary>The mean squared error of each block's output relative to the teacher's mean square, summed over the blocks.</summary>
    public static Tensor BlockError(IReadOnlyList<Tensor> student, IReadOnlyList<Tensor> teacher)
    {
        using var scope = NewDisposeScope();
        var sum = zeros_like(student[0].detach().sum());
        foreach (var (actual, expected) in student.Zip(teacher))
        {
            sum = sum + ((actual - expected).square().mean() / expected.square().mean());
        }

        return sum.MoveToOuterDisposeScope();
    }
}
