using System.Runtime.InteropServices;

namespace Nibble.Cli;

/// <summary>Memory reserved so that the program can still report an error when memory runs out.</summary>
/// <remarks>
/// When a native library has used up all memory, the runtime ends the process, because it cannot even compile the code that handles the failure.
/// The reserve is never touched, so it takes address space but no physical memory.
/// </remarks>
internal static unsafe class MemoryReserve
{
    private const int Bytes = 64 << 20;

    private static void* block;

    /// <summary>Reserves the memory.</summary>
    public static void Hold()
    {
        block = NativeMemory.Alloc(Bytes);
        AppDomain.CurrentDomain.FirstChanceException += (_, thrown) =>
        {
            if (block != null && Failure.IsOutOfMemory(thrown.Exception))
            {
                NativeMemory.Free(block);
                block = null;
            }
        };
    }
}
