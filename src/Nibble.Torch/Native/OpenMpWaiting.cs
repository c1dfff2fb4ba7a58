namespace Nibble.Torch.Native;

/// <summary>How the threads of GNU's OpenMP, which libtorch on Linux and many builds of llama.cpp compute with, wait for one another.</summary>
/// <remarks>
/// By default they spin for a long time before they sleep, which costs nothing as long as the machine has nothing else to do. On a busy one, the thread
/// that is waited for does not run because the others spin in its place, and all is several times slower.
/// </remarks>
internal static class OpenMpWaiting
{
    private const string Policy = "OMP_WAIT_POLICY";
    private const string SpinCount = "GOMP_SPINCOUNT";

    /// <summary>Some microseconds: as fast as the default on an idle machine, as good as not spinning at all on a busy one.</summary>
    private const string FewSpins = "1000";

    /// <summary>Makes them sleep soon, in this process and in those that it starts, unless a variable of the environment says how they wait.</summary>
    /// <remarks>It has to be called before the library is loaded.</remarks>
    public static void Shorten()
    {
        if (Environment.GetEnvironmentVariable(Policy) is { } policy)
        {
            NativeEnvironment.SetDefault(Policy, policy);
            return;
        }

        NativeEnvironment.SetDefault(SpinCount, FewSpins);
    }
}
