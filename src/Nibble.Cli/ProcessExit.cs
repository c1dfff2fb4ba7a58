using System.Runtime.InteropServices;

namespace Nibble.Cli;

/// <summary>Ends the process immediately, whatever its threads are doing.</summary>
internal static partial class ProcessExit
{
    /// <summary>Ends the process without waiting for threads in native code or for destructors of native libraries.</summary>
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
