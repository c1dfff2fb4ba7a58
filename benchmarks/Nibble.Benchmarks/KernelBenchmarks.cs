using BenchmarkDotNet.Attributes;
using BenchmarkDotNet.Configs;
using BenchmarkDotNet.Jobs;
using Nibble.Numerics;

namespace Nibble.Benchmarks;

/// <summary>The operations on a matrix of 4096 x 4096, on one thread, through the public interface, with each kernel.</summary>
[Config(typeof(EachKernel))]
public class KernelBenchmarks
{
    private const int Size = 4096;
    private const long FloatBytes = (long)Size * Size * sizeof(float);
    private const long CodeBytes = (long)Size * Size;

    private readonly QuantizationScheme scheme = new(4, symmetric: false, Granularity.Channel);
    private readonly float[] weights = new float[Size * Size];
    private readonly float[] values = new float[Size * Size];
    private readonly sbyte[] codes = new sbyte[Size * Size];
    private readonly byte[] packed = new byte[Size * Size / 2];
    private QuantizationParameters[] parameters = [];

    /// <summary>Values that share a scale: a group of 32, or a channel.</summary>
    [Params(32, Size)]
    public int Group { get; set; }

    [GlobalSetup]
    public void Setup()
    {
        var random = new Random(1);
        for (var i = 0; i < weights.Length; i++)
        {
            weights[i] = ((float)random.NextDouble() + (float)random.NextDouble() - 1) * 0.1f;
        }

        parameters = new QuantizationParameters[weights.Length / Group];
        for (var i = 0; i < parameters.Length; i++)
        {
            parameters[i] = QuantizationParameters.FromRange(Quantizer.Measure(weights.AsSpan(i * Group, Group)).Range, scheme);
        }

        Quantize();
    }

    [Benchmark]
    [Bytes(FloatBytes)]
    public float MinMax()
    {
        var highest = 0f;
        for (var i = 0; i < parameters.Length; i++)
        {
            highest = Math.Max(highest, Quantizer.Measure(weights.AsSpan(i * Group, Group)).Range.Max);
        }

        return highest;
    }

    [Benchmark]
    [Bytes(FloatBytes)]
    public void Quantize()
    {
        for (var i = 0; i < parameters.Length; i++)
        {
            Quantizer.Quantize(weights.AsSpan(i * Group, Group), parameters[i], scheme.Codes, codes.AsSpan(i * Group, Group));
        }
    }

    [Benchmark]
    [Bytes(FloatBytes)]
    public void Dequantize()
    {
        for (var i = 0; i < parameters.Length; i++)
        {
            Quantizer.Dequantize(codes.AsSpan(i * Group, Group), parameters[i], values.AsSpan(i * Group, Group));
        }
    }

    [Benchmark]
    [Bytes(FloatBytes)]
    public void FakeQuantize()
    {
        for (var i = 0; i < parameters.Length; i++)
        {
            Quantizer.FakeQuantize(weights.AsSpan(i * Group, Group), parameters[i], scheme.Codes, values.AsSpan(i * Group, Group));
        }
    }

    [Benchmark]
    [Bytes(FloatBytes)]
    public double SquaredError()
    {
        var sum = 0d;
        for (var i = 0; i < parameters.Length; i++)
        {
            sum += Quantizer.SquaredError(weights.AsSpan(i * Group, Group), parameters[i], scheme.Codes);
        }

        return sum;
    }

    [Benchmark]
    [Bytes(CodeBytes)]
    public void Pack()
    {
        for (var i = 0; i < parameters.Length; i++)
        {
            BitPacking.Pack(codes.AsSpan(i * Group, Group), scheme.Bits, packed.AsSpan(i * Group / 2, Group / 2));
        }
    }

    private sealed class EachKernel : ManualConfig
    {
        public EachKernel()
        {
            foreach (var kernel in new[] { "scalar", "vector", "avx2" })
            {
                AddJob(Job.ShortRun.WithEnvironmentVariable("NIBBLE_KERNEL", kernel).WithId(kernel));
            }
        }
    }
}
