using System.Runtime.InteropServices;

namespace Nibble.Cli;

/// <summary>Memory that is held until memory runs out, so that there is some to say so.</summary>
/// <remarks>
/// Where a native library has taken the last of it, the runtime itself ends the process, since it cannot even compile the code that handles the failure.
/// What is held is never touched, and so takes addresses and no memory.
/// </remarks>
internal static unsafe class MemoryReserve
{
    private const int Bytes = 64 << 20;

    private static void* block;

    /// <summary>Holds memory from now on.</summary>
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
