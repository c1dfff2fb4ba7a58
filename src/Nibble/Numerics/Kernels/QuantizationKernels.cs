
namespace Nibble.Numerics.Kernels;

/// <summary>Chooses the kernel: the fastest that the machine supports, unless <c>NIBBLE_KERNEL</c> names one.</summary>
internal static class QuantizationKernels
{
    /// <summary>The environment variable that forces a kernel: <c>scalar</c>, <c>vector</c> or <c>avx2</c>.</summary>
    internal const string Variable = "NIBBLE_KERNEL";

    // Fastest first. A new instruction set needs one file and one line here.
    private static readonly (bool Supported, IQuantizationKernel Kernel)[] All =
    [
        (Avx2Kernel.IsSupported, new Avx2Kernel()),
        (VectorKernel.IsSupported, new VectorKernel()),
        (true, ScalarKernel.Instance),
    ];

    private static IQuantizationKernel? active;

    /// <summary>The kernels that this machine can run, fastest first.</summary>
    public static IEnumerable<IQuantizationKernel> Available => All.Where(entry => entry.Supported).Select(entry => entry.Kernel);

    /// <summary>The kernel in use.</summary>
    /// <exception cref="NibbleException"><c>NIBBLE_KERNEL</c> names an unknown kernel, or one that this machine cannot run.</exception>
    // Not a static initializer, which would hide the message inside a TypeInitializationException.
    public static IQuantizationKernel Active => active ??= Select(Environment.GetEnvironmentVariable(Variable));

    /// <summary>The kernel with a name; the fastest if the name is null or empty.</summary>
    internal static IQuantizationKernel Select(string? name)
    {
        if (string.IsNullOrEmpty(name))
        {
            return Available.First();
        }

        foreach (var (supported, kernel) in All)
        {
            if (kernel.Name != name)
            {
                continue;
            }

            return supported
                ? kernel
                : throw new NibbleException(
                    $"{Variable} is \"{name}\", which this machine cannot run; it has {Names(Available)}. Unset {Variable} to use the fastest.");
        }

        throw new NibbleException($"{Variable} is \"{name}\", expected one of {Names(All.Select(entry => entry.Kernel))}. Unset it to use the fastest.");
    }

    private static string Names(IEnumerable<IQuantizationKernel> kernels) => string.Join(", ", kernels.Select(kernel => kernel.Name));
}
