using System.Diagnostics;
using System.Globalization;
using System.Runtime.InteropServices;
using Nibble.Algorithms;
using Nibble.Numerics;

namespace Nibble.Benchmarks;

/// <summary>Times GPTQ on one layer, whose weight and Hessian come from a file so that another program can work on the same ones.</summary>
internal static class GptqTimes
{
    /// <summary>Arguments: file of float32 (weight, then Hessian), rows, columns, repeats, threads. Prints the seconds of each repeat and the loss of the
    /// last.</summary>
    public static void Run(string[] arguments)
    {
        var (rows, columns, repeats, threads) = (Number(arguments[1]), Number(arguments[2]), Number(arguments[3]), Number(arguments[4]));
        var (weights, hessian) = (new float[rows * columns], new float[columns * columns]);
        using (var file = File.OpenRead(arguments[0]))
        {
            file.ReadExactly(MemoryMarshal.AsBytes(weights.AsSpan()));
            file.ReadExactly(MemoryMarshal.AsBytes(hessian.AsSpan()));
        }

        var scheme = new QuantizationScheme(4, symmetric: false, Granularity.Group(128));
        for (var repeat = 0; repeat < repeats; repeat++)
        {
            var given = (float[])hessian.Clone();
            var watch = Stopwatch.StartNew();
            var used = Environment.CpuUsage.UserTime;
            var factor = HessianFactor.Create(given, columns, threads: threads);
            var (factored, factoredUsed) = (watch.Elapsed.TotalSeconds, Environment.CpuUsage.UserTime - used);
            var result = Gptq.Quantize(weights, rows, columns, scheme, factor, new GptqOptions { Threads = threads });
            Console.WriteLine(string.Create(
                CultureInfo.InvariantCulture,
                $"{watch.Elapsed.TotalSeconds:F4} s, {(Environment.CpuUsage.UserTime - used).TotalSeconds:F3} s of user time; the factor {factored:F4} s, "
                    + $"{factoredUsed.TotalSeconds:F3} s; loss {result.Loss:G9}"));
        }
    }

    private static int Number(string argument) => int.Parse(argument, CultureInfo.InvariantCulture);
}
