using System.Runtime.InteropServices;

namespace Nibble.Tests.Shared;

/// <summary>Finds the prebuilt libraries of llama.cpp that <c>npm ci</c> puts into <c>tests/clients/llama.cpp</c>.</summary>
internal static class LlamaCpp
{
    /// <summary>The folder of the libraries; skips the running test where they are not installed.</summary>
    public static string RequireFolder()
    {
        if (Repository.Root is { } root && OperatingSystem.IsLinux() && RuntimeInformation.ProcessArchitecture == Architecture.X64)
        {
            var libraries = Path.Combine(root, "tests", "clients", "llama.cpp", "node_modules", "@node-llama-cpp", "linux-x64", "bins", "linux-x64");
            if (Directory.Exists(libraries))
            {
                return libraries;
            }
        }

        Assert.Skip("needs llama.cpp's libraries for Linux x64: npm ci --ignore-scripts --prefix tests/clients/llama.cpp");
        return string.Empty;
    }

    /// <summary>Loads <c>libggml-base.so</c>, which has the quantizers, once.</summary>
    public static nint RequireBase() => NativeLibrary.Load(Path.Combine(RequireFolder(), "libggml-base.so"));
}
