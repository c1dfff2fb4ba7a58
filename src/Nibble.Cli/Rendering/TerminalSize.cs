using System.Runtime.InteropServices;

namespace Nibble.Cli.Rendering;

/// <summary>The width of a terminal.</summary>
internal static partial class TerminalSize
{
    /// <summary>The assumed width if a terminal does not report one, as pseudo-terminals often do not.</summary>
    private const int Assumed = 80;

    /// <summary>The width of a standard stream's terminal in characters. .NET's own property only supports stdout.</summary>
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
