namespace Nibble.Torch.Tests.Native;

/// <summary>The library that TorchSharp binds to, as it came.</summary>
internal static class NativeLibraryFile
{
    public static string Path => System.IO.Path.Combine(AppContext.BaseDirectory, "runtimes", "linux-x64", "native", "libLibTorchSharp.so");

    public static byte[] Read()
    {
        Assert.SkipUnless(File.Exists(Path), "needs libLibTorchSharp.so of linux-x64 in the output folder");
        return File.ReadAllBytes(Path);
    }
}
