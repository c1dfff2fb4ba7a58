using System.Runtime.InteropServices;

namespace Nibble.Cli.Engines;

/// <summary>Finds llama.cpp's shared libraries.</summary>
internal static class LlamaCppLibraries
{
    /// <summary>The environment variable that names their folder.</summary>
    public const string Variable = "NIBBLE_LLAMA_CPP";

    // Where npm puts the prebuilt libraries, relative to the folder of node_modules, and where this repository installs them.
    private static readonly string Package = Path.Combine("node_modules", "@node-llama-cpp", "linux-x64", "bins", "linux-x64");
    private static readonly string InRepository = Path.Combine("tests", "clients", "llama.cpp", Package);

    /// <summary>The folder of the libraries.</summary>
    /// <param name="asked">The folder that the user names; null to search for one.</param>
    /// <exception cref="NativeLibraryException">No folder contains them.</exception>
    public static string Find(string? asked)
    {
        var named = asked ?? Environment.GetEnvironmentVariable(Variable);
        if (!string.IsNullOrEmpty(named))
        {
            return Holds(named) ? named
                : throw new NativeLibraryException($"{named} does not contain {FileName("llama")}; give the folder of llama.cpp's shared libraries");
        }

        foreach (var start in (string[])[Directory.GetCurrentDirectory(), AppContext.BaseDirectory])
        {
            for (var folder = new DirectoryInfo(start); folder is not null; folder = folder.Parent)
            {
                foreach (var relative in (string[])[Package, InRepository])
                {
                    if (Holds(Path.Combine(folder.FullName, relative)))
                    {
                        return Path.Combine(folder.FullName, relative);
                    }
                }
            }
        }

        throw new NativeLibraryException(
            $"llama.cpp's shared libraries were not found; on Linux x64, install them with npm install --ignore-scripts @node-llama-cpp/linux-x64, or name "
            + $"their folder with --engine-path or {Variable}");
    }

    /// <summary>Loads the libraries of a folder.</summary>
    /// <returns>Handles of llama.cpp and of the library that loads its backends.</returns>
    /// <exception cref="NativeLibraryException">They are missing or not for this machine.</exception>
    public static (nint Llama, nint Backends) Load(string folder)
    {
        try
        {
            return (NativeLibrary.Load(One(folder, "llama")), NativeLibrary.Load(One(folder, "ggml")));
        }
        catch (Exception exception) when (exception is DllNotFoundException or BadImageFormatException)
        {
            throw new NativeLibraryException($"llama.cpp's shared libraries in {folder} cannot be loaded: {exception.Message}", exception);
        }
    }

    private static bool Holds(string folder) => Directory.Exists(folder) && Matches(folder, "llama").Any();

    private static string One(string folder, string name) =>
        Matches(folder, name).FirstOrDefault() ?? throw new NativeLibraryException($"{folder} does not contain {FileName(name)}");

    // The name may include a version, before or after the extension: libllama.v0.5.0.so, libllama.so.1.
    private static IEnumerable<string> Matches(string folder, string name) =>
        Directory.EnumerateFiles(folder, OperatingSystem.IsWindows() ? $"{name}.dll" : $"lib{name}.*")
        .Where(path => Path.GetFileName(
            path).Contains(OperatingSystem.IsWindows() ? ".dll" : OperatingSystem.IsMacOS() ? ".dylib" : ".so", StringComparison.Ordinal))
        .Order(StringComparer.Ordinal);

    private static string FileName(string name) => OperatingSystem.IsWindows() ? $"{name}.dll" : $"lib{name}";
}
