using System.Diagnostics;
using Nibble.Algorithms.Gptq;
using Nibble.Numerics;

namespace Nibble.Benchmarks;

internal static class GptqTimes
{
    public static void Run(string[] args)
    {
        var (rows, columns, repeats, threads) = (int.Parse(args[0]), int.Parse(args[1]), int.Parse(args[2]), int.Parse(args[3]));
        var random = new Random(1);
        var weights = Enumerable.Range(0, rows * columns).Select(_ => (float)(random.NextDouble() + random.NextDouble() - 1)).ToArray();
        var factor = new float[columns * columns];
        for (var i = 0; i < columns; i++)
        {
            for (var j = i; j < columns; j++)
            {
                factor[(i * columns) + j] = i == j ? 1 : (float)(random.NextDouble() - 0.5) * 0.02f;
            }
        }

        var hessian = new HessianFactor(columns, factor);
        var scheme = new QuantizationScheme(4, symmetric: false, Granularity.Group(128));
        for (var repeat = 0; repeat < repeats; repeat++)
        {
            var watch = Stopwatch.StartNew();
            var cpu = Process.GetCurrentProcess().UserProcessorTime;
            var result = Gptq.Quantize(weights, rows, columns, scheme, hessian, new GptqOptions { Threads = threads });
            var user = (Process.GetCurrentProcess().UserProcessorTime - cpu).TotalSeconds;
            Console.WriteLine($"{rows}x{columns} {threads} wall {watch.Elapsed.TotalSeconds:F3} user {user:F3} GF/s(user) {(double)rows * columns * columns / user / 1e9:F1} loss {result.Loss}");
        }
    }
}
