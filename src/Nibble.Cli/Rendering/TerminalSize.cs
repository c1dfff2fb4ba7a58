using System.Runtime.InteropServices;

namespace Nibble.Cli.Rendering;

/// <summary>How wide a terminal is.</summary>
internal static partial class TerminalSize
{
    /// <summary>What is assumed where a terminal does not tell, as those that programs make often do not.</summary>
    private const int Assumed = 80;

    /// <summary>The width of the terminal that a standard stream leads to, in characters; .NET's own property looks at stdout alone.</summary>
    public static int Columns(int stream)
    {
        try
        {
            var columns = OperatingSystem.IsLinux() ? Of(stream) : Console.WindowWidth;
            return columns > 0 ? columns : Assumed;
        }
        catch (IOException)
        {
            return Assumed;
        }
    }

    private static int Of(int stream)
    {
        const nuint windowSize = 0x5413;
        Span<ushort> size = stackalloc ushort[4];
        return Control(stream, windowSize, size) == 0 ? size[1] : 0;
    }

    [LibraryImport("libc", EntryPoint = "ioctl")]
    private static partial int Control(int stream, nuint request, Span<ushort> size);
}
