using Nibble.Torch.Native;
using static TorchSharp.torch;

namespace Nibble.Torch.Tests.Native;

/// <summary>The arithmetic that keeps its numbers alive, against TorchSharp's operators and under garbage collections of another thread.</summary>
public sealed class TensorArithmeticTests : IDisposable
{
    private static readonly ScalarType[] Types = [int64, float16, float32, float64];

    private readonly TorchSharp.DisposeScope scope;

    public TensorArithmeticTests()
    {
        TorchRuntime.EnsureLoaded();
        scope = NewDisposeScope();
    }

    public void Dispose() => scope.Dispose();

    [Fact]
    public void TensorsAreAddedLikeTorchSharpAddsThem()
    {
        foreach (var (type, x) in Inputs())
        {
            var y = x.flip(0);
            Same(x + y, x.Plus(y), type);
            Same(x.clone().add_(y), x.clone().AddInPlace(y), type);
            Same(x.clone().add_(y, 3), x.clone().AddInPlace(y, 3), type);
            Same(x.clone().addcmul_(x, y, 2), x.clone().AddProductInPlace(x, y, 2), type);
            Same(x.square(), x.Square(), type);
        }
    }

    [Fact]
    public void WholeNumbersKeepTensorsOfWholeNumbersWhole()
    {
        foreach (var (type, x) in Inputs())
        {
            Same(x + 3, x.Plus(3), type);
            Same(x - 3, x.Minus(3), type);
            Same(3 - x, x.SubtractedFrom(3), type);
            Same(x * 3, x.Times(3), type);
            Same(x / 3, x.DividedBy(3), type);
            Same(x.pow(3), x.Power(3), type);
            Same(x.clamp(-1, 2), x.Clamp(-1, 2), type);
            Same(x.clamp_min(-1), x.ClampMin(-1), type);
            Same(x.clamp_max(2), x.ClampMax(2), type);
            Same(x.clone().add_(3), x.clone().AddInPlace(3), type);
            Same(x.clone().clamp_(-1, 2), x.clone().ClampInPlace(-1, 2), type);
            Same(x.clone().fill_(3), x.clone().Fill(3), type);
            Same(x.masked_fill(x.gt(0), 3), x.MaskedFill(x.gt(0), 3), type);
            Same(x.eq(2), x.EqualTo(2), type);
            Same(x > 2, x.GreaterThan(2), type);
            Same(x.le(2), x.AtMost(2), type);
        }
    }

    [Fact]
    public void FloatingPointNumbersGiveTheSameBits()
    {
        foreach (var (type, x) in Inputs())
        {
            Same(x + 0.1f, x.Plus(0.1f), type);
            Same(x + 0.1, x.Plus(0.1), type);
            Same(x - 0.1, x.Minus(0.1), type);
            Same(0.1 - x, x.SubtractedFrom(0.1), type);
            Same(x * 0.1f, x.Times(0.1f), type);
            Same(x * 0.1, x.Times(0.1), type);
            Same(x / 0.1f, x.DividedBy(0.1f), type);
            Same(x / 0.1, x.DividedBy(0.1), type);
            Same(x.abs().pow(0.3), x.abs().Power(0.3), type);
            Same(x.clamp(-0.1, 0.7), x.Clamp(-0.1, 0.7), type);
            Same(x.clamp_min(0.1f), x.ClampMin(0.1f), type);
            Same(x.clamp_max(0.1f), x.ClampMax(0.1f), type);
            Same(x.le(0.1), x.AtMost(0.1), type);
            if (type != int64)
            {
                Same(x.clone().div_(3L), x.clone().DivideInPlace(3L), type);
                Same(x.clone().add_(0.1f), x.clone().AddInPlace(0.1f), type);
                Same(x.clone().add_(x, 0.1), x.clone().AddInPlace(x, 0.1), type);
                Same(x.clone().addcmul_(x, x, 0.1), x.clone().AddProductInPlace(x, x, 0.1), type);
            }
        }

        Same(full(2, 3, 0.1f), TensorArithmetic.Filled(2, 3, 0.1f), float32);
    }

    [Fact]
    public void GradientsEqualThoseOfTheOperators()
    {
        var ours = tensor([-2f, 0.3f, 5f], requires_grad: true);
        var theirs = tensor([-2f, 0.3f, 5f], requires_grad: true);
        ours.SubtractedFrom(1).Times(0.7).Clamp(-2, 2).Square().Plus(ours).DividedBy(3).Power(2).sum().backward();
        ((((1 - theirs) * 0.7).clamp(-2, 2).square() + theirs) / 3).pow(2).sum().backward();
        Same(theirs.grad!, ours.grad!, float32);
    }

    [Fact]
    public void ResultsAreRightWhileAnotherThreadCollectsGarbage()
    {
        using var stop = new CancellationTokenSource(TimeSpan.FromSeconds(1));
        var collector = new Thread(() =>
        {
            while (!stop.IsCancellationRequested)
            {
                GC.Collect(0);
            }
        });
        collector.Start();
        var wrong = new List<string>();
        var threads = Enumerable.Range(0, 4).Select(index => new Thread(() => Compute(index + 1))).ToList();
        threads.ForEach(thread => thread.Start());
        threads.ForEach(thread => thread.Join());
        collector.Join();
        Assert.Empty(wrong);

        void Compute(int number)
        {
            try
            {
                while (!stop.IsCancellationRequested)
                {
                    using var round = NewDisposeScope();
                    var x = tensor([1f, -1f]);
                    var found = x.Plus(x).Times(number).Plus(0.5f).Clamp(-1, 100).Square().Minus(2);
                    float[] expected = [(((2 * number) + 0.5f) * ((2 * number) + 0.5f)) - 2, -1];
                    if (!found.data<float>().ToArray().SequenceEqual(expected))
                    {
                        throw new InvalidOperationException($"{number}: {string.Join(' ', found.data<float>().ToArray())}");
                    }
                }
            }
            catch (Exception exception)
            {
                lock (wrong)
                {
                    wrong.Add(exception.Message);
                }
            }
        }
    }

    private static IEnumerable<(ScalarType Type, Tensor Values)> Inputs() =>
        Types.Select(type => (type, tensor([-3.7, -1, -0.3, 0, 0.1, 0.7, 1.5, 2, 3, 11.3]).to(type)));

    private static void Same(Tensor expected, Tensor found, ScalarType input)
    {
        Assert.True(expected.dtype == found.dtype, $"{input}: {found.dtype} instead of {expected.dtype}");
        Assert.Equal(expected.shape, found.shape);
        Assert.Equal(expected.bytes.ToArray(), found.bytes.ToArray());
    }
}
