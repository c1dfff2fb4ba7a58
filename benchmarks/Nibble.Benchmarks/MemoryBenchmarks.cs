using System.Numerics;
using System.Runtime.InteropServices;
using BenchmarkDotNet.Attributes;

namespace Nibble.Benchmarks;

/// <summary>What one thread can read and copy at best: the ceiling of <see cref="KernelBenchmarks"/>.</summary>
[ShortRunJob]
public class MemoryBenchmarks
{
    private const int Length = 4096 * 4096;
    private const long FloatBytes = (long)Length * sizeof(float);

    private readonly float[] source = new float[Length];
    private readonly float[] target = new float[Length];

    /// <summary>Touches both arrays, as untouched pages are all one page of zeros.</summary>
    [GlobalSetup]
    public void Setup()
    {
        Array.Fill(source, 1f);
        Array.Fill(target, 2f);
    }

    [Benchmark]
    [Bytes(FloatBytes)]
    public float Read()
    {
        var (first, second, third, fourth) = (Vector<float>.Zero, Vector<float>.Zero, Vector<float>.Zero, Vector<float>.Zero);
        var vectors = MemoryMarshal.Cast<float, Vector<float>>(source);
        for (var i = 0; i + 3 < vectors.Length; i += 4)
        {
            first += vectors[i];
            second += vectors[i + 1];
            third += vectors[i + 2];
            fourth += vectors[i + 3];
        }

        return Vector.Sum(first + second + third + fourth);
    }

    /// <summary>Counts the bytes read; as many are written.</summary>
    [Benchmark]
    [Bytes(FloatBytes)]
    public void Copy() => source.AsSpan().CopyTo(target);
}
