using System.Diagnostics;
using System.Globalization;
using Nibble.Numerics;
using Nibble.Torch.Layers;
using static TorchSharp.torch;

namespace Nibble.Torch.Benchmarks;

/// <summary>Fake quantization of a matrix of 4096 x 4096 with learned scales: the fused kernels, composed operators, libtorch's fused operator, and copying the
/// memory.</summary>
internal static class FakeQuantizationTimes
{
    private const int Size = 4096;
    private const double Gigabytes = (double)Size * Size * sizeof(float) / 1e9;

    private static readonly CodeRange Codes = new(-8, 7);

    /// <summary>Prints the median times of each; all take turns.</summary>
    public static void Run(int threads, int repeats)
    {
        set_num_threads(threads);
        using var scope = NewDisposeScope();

        // Reached through TorchScript, as TorchSharp binds it nowhere.
        using var unit = jit.compile(
            $"def fake(x, scale, zero_point):\n    return torch._fake_quantize_learnable_per_channel_affine(x, scale, zero_point, 0, {Codes.Min}, {Codes.Max}, "
                + $"1.0)\n");
        var x = ((rand(Size, Size) + rand(Size, Size) - 1) * 0.1f).requires_grad_();
        var gradient = rand(Size, Size) - 0.5f;
        var perChannel = full(Size, 0.013f).requires_grad_();
        var perGroup = full(Size * Size / 32, 0.013f).requires_grad_();
        var zeroPoint = zeros(Size);
        var target = empty(Size, Size);
        var group = Granularity.Group(32);
        var contenders = new (string Name, Func<Tensor> Forward)[]
        {
            ("fused, channels", () => FusedFakeQuantization.Learned(x, perChannel, null, Codes, Granularity.Channel)),
            ("fused, groups of 32", () => FusedFakeQuantization.Learned(x, perGroup, null, Codes, group)),
            ("fused min-max, groups of 32",
                () => FusedFakeQuantization.MinMax(x, new QuantizationScheme(4, symmetric: false, group) { ScalePrecision = ScalePrecision.Float16 })),
            ("composed, channels", () => FusedFakeQuantization.ComposedLearned(x, perChannel, null, Codes, Granularity.Channel)),
            ("composed, groups of 32", () => FusedFakeQuantization.ComposedLearned(x, perGroup, null, Codes, group)),
            ("libtorch's operator, channels", () => unit.invoke<Tensor>("fake", x, perChannel, zeroPoint)),
        };
        var times = contenders.ToDictionary(contender => contender.Name, _ => (Forward: new List<double>(), Backward: new List<double>()));
        var copies = new List<double>();
        for (var repeat = 0; repeat < repeats + 2; repeat++)
        {
            foreach (var (name, forward) in contenders)
            {
                using var inner = NewDisposeScope();
                var watch = Stopwatch.StartNew();
                var y = forward();
                var forwardTime = watch.Elapsed.TotalMilliseconds;
                watch.Restart();
                y.backward([gradient]);
                var backwardTime = watch.Elapsed.TotalMilliseconds;
                (x.grad, perChannel.grad, perGroup.grad) = (null, null, null);
                if (repeat >= 2)
                {
                    times[name].Forward.Add(forwardTime);
                    times[name].Backward.Add(backwardTime);
                }
            }

            using var guard = no_grad();
            var copy = Stopwatch.StartNew();
            target.copy_(x);
            if (repeat >= 2)
            {
                copies.Add(copy.Elapsed.TotalMilliseconds);
            }
        }

        Console.WriteLine($"{Size} x {Size} float32, 4 bits, {threads} thread(s), median of {repeats}. Backward holds what libtorch adds: it copies the "
            + $"gradient once where it keeps it.");
        Console.WriteLine();
        Console.WriteLine("| | forward ms | backward ms |");
        Console.WriteLine("|---|---|---|");
        foreach (var (name, _) in contenders)
        {
            Console.WriteLine(string.Create(
                CultureInfo.InvariantCulture, $"| {name} | {Median(times[name].Forward):F1} | {Median(times[name].Backward):F1} |"));
        }

        var time = Median(copies);
        Console.WriteLine(string.Create(
            CultureInfo.InvariantCulture, $"| copying the matrix ({2 * Gigabytes / time * 1e3:F1} GB/s read and written) | {time:F1} | |"));
    }

    private static double Median(List<double> values)
    {
        values.Sort();
        return (values[(values.Count - 1) / 2] + values[values.Count / 2]) / 2;
    }
}
