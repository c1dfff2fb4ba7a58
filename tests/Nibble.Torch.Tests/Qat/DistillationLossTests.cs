using Nibble.Recipes;
using Nibble.Torch.Qat;
using Nibble.Torch.Tasks;
using static TorchSharp.torch;

namespace Nibble.Torch.Tests.Qat;

public sealed class DistillationLossTests
{
    [Theory]
    [InlineData(1)]
    [InlineData(3)]
    public void DivergenceIsTheMeanOverPositionsTimesTheSquareOfTheTemperature(double temperature)
    {
        using var scope = NewDisposeScope();
        double[][] student = [[1, 2, 0], [0.5, -1, 2]];
        double[][] teacher = [[2, 1, 0], [0, 0, 1]];
        var expected = student.Zip(teacher, (s, t) => Kl(Softmax(t), Softmax(s))).Average() * temperature * temperature;
        Assert.Equal(expected, Distances.KullbackLeibler(Tensor(student), Tensor(teacher), temperature).item<float>(), 1e-5);

        double[] Softmax(double[] logits) => [.. logits.Select(logit => Math.Exp(logit / temperature) / logits.Sum(other => Math.Exp(other / temperature)))];

        static double Kl(double[] p, double[] q) => p.Zip(q, (a, b) => a * Math.Log(a / b)).Sum();

        static Tensor Tensor(double[][] rows) => tensor(rows.SelectMany(row => row).Select(value => (float)value).ToArray(), 1, 2, 3);
    }

    [Fact]
    public void BlockErrorIsRelativeToTheTeacher()
    {
        using var scope = NewDisposeScope();
        Tensor[] teacher = [full(4, 2f), full(4, 10f)];
        Tensor[] student = [full(4, 3f), full(4, 8f)];
        Assert.Equal(0.25 + 0.04, DistillationLoss.BlockError(student, teacher, mask: null).item<float>(), 1e-6);
    }

    [Fact]
    public void DivergenceOfTheLikeliestTokensTakesTheOthersAsOne()
    {
        using var scope = NewDisposeScope();
        var logits = tensor(new float[] { 1, 2, 0, -1 }).reshape(1, 1, 4);
        var teacher = tensor(new float[] { 2, 1, 0, 0 }).reshape(1, 4).log_softmax(1);
        var (values, tokens) = teacher.topk(2, 1);
        double[] p = [.. Probabilities(2, 1, 0, 0)], q = [.. Probabilities(1, 2, 0, -1)];
        var expected = (p[0] * Math.Log(p[0] / q[0])) + (p[1] * Math.Log(p[1] / q[1])) + ((p[2] + p[3]) * Math.Log((p[2] + p[3]) / (q[2] + q[3])));
        Assert.Equal(expected, DistillationLoss.Divergence(logits, new TeacherPrediction(values, tokens), 1).item<float>(), 1e-5);
        Assert.Equal(
            Distances.KullbackLeibler(logits, teacher.reshape(1, 1, 4), 1).item<float>(),
            DistillationLoss.Divergence(logits, new TeacherPrediction(teacher, null), 1).item<float>(),
            1e-6);

        static IEnumerable<double> Probabilities(params double[] logits) => logits.Select(logit => Math.Exp(logit) / logits.Sum(Math.Exp));
    }

    [Fact]
    public void OfWeighsItsParts()
    {
        using var scope = NewDisposeScope();
        var settings = new DistillationSettings { Weight = 0.3, Temperature = 2, Hidden = 0.5 };
        Assert.Equal((0.3 * 2) + (0.7 * 5) + (0.5 * 3), DistillationLoss.Of(tensor(2f), () => tensor(5f), () => tensor(3f), settings).item<float>(), 1e-5);
        Assert.Equal(2, DistillationLoss.Of(tensor(2f), Never, Never, settings with { Weight = 1, Hidden = 0 }).item<float>(), 1e-6);

        static Tensor Never() => throw new InvalidOperationException("not asked for");
    }
}
