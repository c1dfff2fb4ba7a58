using System.Runtime.InteropServices;

namespace Nibble;

/// <summary>The variables of the environment that native libraries in this process see.</summary>
/// <remarks>
/// On Unix, .NET keeps an environment of its own, and what <see cref="Environment.SetEnvironmentVariable(string, string?)"/> changes there no native
/// library sees.
/// </remarks>
internal static partial class NativeEnvironment
{
    /// <summary>Sets a variable, for this process and those that it starts, unless it has a value; that value is then what native libraries see too.</summary>
    /// <param name="name">The variable, which libraries read when they are loaded, so before that.</param>
    /// <param name="value">What it is where nobody has set it.</param>
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
