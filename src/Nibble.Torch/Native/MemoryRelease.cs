using System.Runtime.InteropServices;

namespace Nibble.Torch.Native;

/// <summary>Returns memory to the system after memory-intensive work.</summary>
internal static partial class MemoryRelease
{
    // Alpine's musl and other systems have no such function and return freed memory automatically.
    private static bool trims = OperatingSystem.IsLinux();

    /// <summary>
    /// Collects garbage and returns freed pages, managed and native. Call it between two steps, because a collection during a step is not safe (see
    /// <see cref="CollectorPause"/>).
    /// </summary>
    public static void Run()
    {
        GC.Collect(GC.MaxGeneration, GCCollectionMode.Aggressive, blocking: true, compacting: true);
        if (!trims)
        {
            return;
        }

        try
        {
            _ = Trim(0);
        }
        catch (Exception exception) when (exception is EntryPointNotFoundException or DllNotFoundException)
        {
            trims = false;
        }
    }

    /// <summary>glibc keeps memory that libtorch has freed unless it is told to return it.</summary>
    [LibraryImport("libc", EntryPoint = "malloc_trim")]
    private static partial int Trim(nuint pad);
}
