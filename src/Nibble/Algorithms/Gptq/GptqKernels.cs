using Nibble.Numerics.Kernels;

namespace Nibble.Algorithms;

/// <summary>Chooses the kernel of the same instruction set as <see cref="QuantizationKernels"/>.</summary>
internal static class GptqKernels
{
    // A new instruction set needs one file and one line here.
    private static readonly IGptqKernel[] All = [new Avx2GptqKernel(), new VectorGptqKernel(), new ScalarGptqKernel()];

    /// <summary>The kernels that this machine can run, fastest first.</summary>
    public static IEnumerable<IGptqKernel> Available => QuantizationKernels.Available.Select(Of);

    /// <summary>The kernel in use.</summary>
    /// <exception cref="NibbleException"><c>NIBBLE_KERNEL</c> names an unknown kernel, or one that this machine cannot run.</exception>
    public static IGptqKernel Active => Of(QuantizationKernels.Active);

    private static IGptqKernel Of(IQuantizationKernel kernel) => Array.Find(All, candidate => candidate.Name == kernel.Name)!;
}
