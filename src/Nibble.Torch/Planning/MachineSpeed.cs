using System.Diagnostics;
using Nibble.Planning;
using static TorchSharp.torch;

namespace Nibble.Torch.Planning;

/// <summary>The speed of the machine, measured in about a tenth of a second.</summary>
internal static class MachineSpeed
{
    private const int Size = 1024;
    private const int CopiedFloats = 1 << 24;

    /// <summary>Measures the speed of a product of two square matrices, and of copying.</summary>
    public static Hardware Measure()
    {
        using var scope = NewDisposeScope();
        using var guard = no_grad();
        var matrix = ones(Size, Size);
        var copied = ones(CopiedFloats);
        var product = Best(() => matrix.matmul(matrix).Dispose());
        var copy = Best(() => copied.clone().Dispose());
        return new Hardware(2d * Size * Size * Size / product, 2d * CopiedFloats * sizeof(float) / copy);
    }

    /// <summary>The shortest of three times. The first run warms up, and another process may disturb one.</summary>
    private static double Best(Action work) => Enumerable.Range(0, 3).Min(_ =>
    {
        var started = Stopwatch.GetTimestamp();
        work();
        return Stopwatch.GetElapsedTime(started).TotalSeconds;
    });
}
