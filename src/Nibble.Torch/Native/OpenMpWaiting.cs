namespace Nibble.Torch.Native;

/// <summary>
/// Configures how the threads of GNU OpenMP wait for each other. libtorch on Linux and many builds of llama.cpp use this library.
/// </summary>
/// <remarks>
/// By default, threads spin for a long time before they sleep. On an idle machine this costs nothing. On a busy machine, the thread that the others wait for
/// cannot run because they spin on its core, and everything is several times slower.
/// </remarks>
internal static class OpenMpWaiting
{
    private const string Policy = "OMP_WAIT_POLICY";
    private const string SpinCount = "GOMP_SPINCOUNT";

    /// <summary>A few microseconds. This is as fast as the default on an idle machine, and as fast as not spinning at all on a busy one.</summary>
    private const string FewSpins = "1000";

    /// <summary>
    /// Makes threads sleep early, in this process and in processes that it starts. Does nothing if an environment variable already configures waiting.
    /// </summary>
    /// <remarks>Call this before the library is loaded.</remarks>
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
