using Nibble.Recipes;
using Nibble.Torch.Qat;
using static TorchSharp.torch;

namespace Nibble.Torch.Tests.Qat;

public sealed class DistillationLossTests
{
    [Theory]
    [InlineData(1)]
    [InlineData(3)]
    public void Divergence_IsTheMeanOverPositionsTimesTheSquareOfTheTemperature(double temperature)
    {
        using var scope = NewDisposeScope();
        double[][] student = [[1, 2, 0], [0.5, -1, 2]];
        double[][] teacher = [[2, 1, 0], [0, 0, 1]];
        var expected = student.Zip(teacher, (s, t) => Kl(Softmax(t), Softmax(s))).Average() * temperature * temperature;
        Assert.Equal(expected, DistillationLoss.Divergence(Tensor(student), Tensor(teacher), temperature).item<float>(), 1e-5);

        double[] Softmax(double[] logits) => [.. logits.Select(logit => Math.Exp(logit / temperature) / logits.Sum(other => Math.Exp(other / temperature)))];

        static double Kl(double[] p, double[] q) => p.Zip(q, (a, b) => a * Math.Log(a / b)).Sum();

        static Tensor Tensor(double[][] rows) => tensor(rows.SelectMany(row => row).Select(value => (float)value).ToArray(), 1, 2, 3);
    }

    [Fact]
    public void BlockError_IsRelativeToTheTeacher()
    {
        using var scope = NewDisposeScope();
        Tensor[] teacher = [full(4, 2f), full(4, 10f)];
        Tensor[] student = [full(4, 3f), full(4, 8f)];
        Assert.Equal(0.25 + 0.04, DistillationLoss.BlockError(student, teacher).item<float>(), 1e-6);
    }

    [Fact]
    public void Of_WeighsItsParts()
    {
        using var scope = NewDisposeScope();
        var (logits, other) = (tensor(new float[] { 1, 2, 0 }).reshape(1, 1, 3), tensor(new float[] { 0, 1, 1 }).reshape(1, 1, 3));
        var (student, teacher) = (new Prediction(logits, [full(4, 3f)]), new Prediction(other, [full(4, 2f)]));
        var divergence = DistillationLoss.Divergence(logits, other, 2).item<float>();
        var settings = new DistillationSettings { Weight = 0.3, Temperature = 2, Hidden = 0.5 };
        Assert.Equal((0.3 * divergence) + (0.7 * 5) + (0.5 * 0.25), DistillationLoss.Of(student, teacher, () => tensor(5f), settings).item<float>(), 1e-5);
        Assert.Equal(divergence, DistillationLoss.Of(student, teacher, () => throw new InvalidOperationException("not asked for"), settings with { Weight = 1, Hidden = 0 }).item<float>(), 1e-6);
    }
}
