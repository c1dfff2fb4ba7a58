using System.Runtime.InteropServices;

namespace Nibble.Torch.Native;

/// <summary>Gives memory back to the system after work that needed much of it.</summary>
internal static partial class MemoryRelease
{
    // Alpine's musl and other systems have no such function, and give freed memory back by themselves.
    private static bool trims = OperatingSystem.IsLinux();

    /// <summary>Collects what is garbage and returns freed pages, managed and native; between two steps, since a collection during one is not safe (see
    /// <see cref="CollectorPause"/>).</summary>
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

    /// <summary>glibc keeps what libtorch has freed unless asked to return it.</summary>
    [LibraryImport("libc", EntryPoint = "malloc_trim")]
    private static partial int Trim(nuint pad);
}
