using System.Globalization;
using System.Reflection;
using System.Runtime.InteropServices;
using System.Runtime.Loader;
using System.Security.Cryptography;
using TorchSharp;

namespace Nibble.Torch.Native;

/// <summary>Loads libtorch, also on systems whose libstdc++ is older than the one TorchSharp was built for.</summary>
public static class TorchRuntime
{
    private const string BindingFile = "libLibTorchSharp.so";
    private static readonly Lazy<bool> Loaded = new(Load);

    /// <summary>Makes TorchSharp usable in this process; call it before the first use of <c>torch</c>. Later calls do nothing.</summary>
    /// <remarks>
    /// TorchSharp's native library asks for libstdc++ of GCC 13. Where the system's is older (Debian 12, Ubuntu 22.04), a copy in
    /// which that one reference is rewritten is kept in the user's application data folder, under a name made of the original's
    /// hash, and loaded instead. Elsewhere nothing is written.
    /// </remarks>
    /// <exception cref="NativeLibraryException">The native libraries are missing or do not load.</exception>
    public static void EnsureLoaded() => _ = Loaded.Value;

    /// <summary>The device of a name, if this machine has it.</summary>
    /// <param name="name"><c>cpu</c>, <c>cuda</c> or <c>cuda:N</c>.</param>
    /// <exception cref="NibbleException">The name is another, or libtorch reaches no such device.</exception>
    public static torch.Device Device(string name)
    {
        ArgumentNullException.ThrowIfNull(name);
        EnsureLoaded();
        if (name == "cpu")
        {
            return torch.CPU;
        }

        var index = 0;
        if (name != "cuda" && !(name.StartsWith("cuda:", StringComparison.Ordinal) && int.TryParse(name.AsSpan("cuda:".Length), NumberStyles.None, CultureInfo.InvariantCulture, out index)))
        {
            throw new NibbleException($"there is no device '{name}', expected cpu, cuda or cuda:N");
        }

        if (!torch.cuda_is_available())
        {
            throw new NibbleException($"the device {name} needs a libtorch for CUDA, a driver and a card, and libtorch here reaches none; use cpu, or reference a TorchSharp-cuda package instead of TorchSharp-cpu");
        }

        var count = torch.cuda.device_count();
        return index < count ? torch.device(DeviceType.CUDA, index) : throw new NibbleException($"the device {name} does not exist, this machine has {count}: cuda:0 to cuda:{count - 1}");
    }

    private static bool Load()
    {
        if (OperatingSystem.IsLinux() && !SystemHasNewSymbol())
        {
            AssemblyLoadContext.Default.ResolvingUnmanagedDll += ResolveBinding;
        }

        try
        {
            torch.InitializeDeviceType(DeviceType.CPU);
            return true;
        }
        catch (Exception e) when (e is not NativeLibraryException)
        {
            throw new NativeLibraryException(
                $"libtorch could not be loaded on {RuntimeInformation.OSDescription} ({RuntimeInformation.RuntimeIdentifier}): {e.GetBaseException().Message} "
                + "Reference TorchSharp-cpu (or a CUDA package of the same version) from the application, on linux-x64, win-x64 or osx-arm64.",
                e);
        }
    }

    private static bool SystemHasNewSymbol() =>
        NativeLibrary.TryLoad("libstdc++.so.6", out var library) && NativeLibrary.TryGetExport(library, ElfVersionPatch.NewSymbol, out _);

    private static IntPtr ResolveBinding(Assembly assembly, string name)
    {
        if (name is not "LibTorchSharp" || FindNative(BindingFile) is not { } binding || FindNative("libtorch_cpu.so") is not { } cpu)
        {
            return IntPtr.Zero;
        }

        // The copy lies in another folder, so its own search path no longer finds these.
        NativeLibrary.Load(cpu);
        NativeLibrary.Load(Path.Combine(Path.GetDirectoryName(cpu)!, "libtorch.so"));
        return NativeLibrary.Load(PatchedCopy(binding, CacheFolder()));
    }

    private static string? FindNative(string file)
    {
        var folders = (AppContext.GetData("NATIVE_DLL_SEARCH_DIRECTORIES") as string ?? string.Empty)
            .Split(Path.PathSeparator, StringSplitOptions.RemoveEmptyEntries)
            .Append(AppContext.BaseDirectory)
            .Append(Path.Combine(AppContext.BaseDirectory, "runtimes", "linux-x64", "native"));
        return folders.Select(folder => Path.Combine(folder, file)).FirstOrDefault(File.Exists);
    }

    private static string CacheFolder()
    {
        var data = Environment.GetFolderPath(Environment.SpecialFolder.LocalApplicationData, Environment.SpecialFolderOption.Create);
        return data.Length > 0
            ? Path.Combine(data, "nibble", "native")
            : throw new NativeLibraryException("A rewritten copy of TorchSharp's native library must be kept in the user's application data folder, and this user has none: set HOME or XDG_DATA_HOME to a writable folder.");
    }

    /// <summary>The path of the rewritten copy of a library, written if it is not there yet; the library itself where it needs none.</summary>
    internal static string PatchedCopy(string library, string cacheFolder)
    {
        var bytes = File.ReadAllBytes(library);
        var folder = Path.Combine(cacheFolder, Convert.ToHexStringLower(SHA256.HashData(bytes))[..16]);
        var copy = Path.Combine(folder, Path.GetFileName(library));
        if (File.Exists(copy) && new FileInfo(copy).Length == bytes.Length)
        {
            return copy;
        }

        if (!ElfVersionPatch.TryApply(bytes))
        {
            return library;
        }

        // Two processes may start at once: each writes its own file, and the last rename wins with the same bytes.
        Directory.CreateDirectory(folder);
        var temporary = Path.Combine(folder, $".{Path.GetFileName(library)}.{Guid.NewGuid():N}");
        try
        {
            File.WriteAllBytes(temporary, bytes);
            File.Move(temporary, copy, overwrite: true);
        }
        finally
        {
            File.Delete(temporary);
        }

        return copy;
    }
}
