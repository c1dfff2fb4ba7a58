using System.Runtime.InteropServices;

namespace Nibble;

/// <summary>The environment variables that native libraries in this process see.</summary>
/// <remarks>
/// On Unix, .NET keeps its own copy of the environment. Native libraries do not see changes made by
/// <see cref="Environment.SetEnvironmentVariable(string, string?)"/>.
/// </remarks>
internal static partial class NativeEnvironment
{
    /// <summary>Sets a variable for this process and its child processes, unless it already has a value. Native libraries then see that value.</summary>
    /// <param name="name">The variable. Libraries read it when they are loaded, so set it before that.</param>
    /// <param name="value">Its value if it has none.</param>
    public static void SetDefault(string name, string value)
    {
        var set = Environment.GetEnvironmentVariable(name);
        if (set is null)
        {
            Environment.SetEnvironmentVariable(name, value);
        }

        if (!OperatingSystem.IsWindows())
        {
            _ = Set(name, set ?? value, 1);
        }
    }

    [LibraryImport("libc", EntryPoint = "setenv", StringMarshalling = StringMarshalling.Utf8)]
    private static partial int Set(string name, string value, int replace);
}
