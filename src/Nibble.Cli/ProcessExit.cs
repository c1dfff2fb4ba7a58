using System.Runtime.InteropServices;

namespace Nibble.Cli;

/// <summary>Ends the process at once, whatever its threads are waiting for.</summary>
internal static partial class ProcessExit
{
    /// <summary>Ends it without waiting for threads in native code, or for the destructors of native libraries that are in use.</summary>
    public static void Now(int code)
    {
        if (!OperatingSystem.IsWindows())
        {
            Exit(code);
        }

        Environment.Exit(code);
    }

    [LibraryImport("libc", EntryPoint = "_exit")]
    private static partial void Exit(int code);
}
