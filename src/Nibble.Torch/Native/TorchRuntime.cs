using System.Globalization;
using System.Runtime.InteropServices;
using System.Runtime.Loader;
using System.Security.Cryptography;
using TorchSharp;

namespace Nibble.Torch.Native;

/// <summary>Loads libtorch, even on systems whose libstdc++ is older than the one that TorchSharp was built for.</summary>
public static class TorchRuntime
{
    private const string BindingName = "LibTorchSharp";
    private const string BindingFile = $"lib{BindingName}.so";
    private static readonly Lazy<bool> Loaded = new(Load);

    /// <summary>Makes TorchSharp usable in this process. Call it before the first use of <c>torch</c>. Later calls do nothing.</summary>
    /// <remarks>
    /// TorchSharp's native library needs the libstdc++ of GCC 13. If the system has an older one (Debian 12, Ubuntu 22.04), a copy of the library with that one
    /// reference rewritten is loaded instead. The copy is stored in the user's application data folder under a name derived from the original's hash. If that
    /// folder is not usable, the copy is loaded from the folder for temporary files and then deleted. On other systems nothing is written. On Linux, waiting
    /// threads are configured to sleep early (<see cref="OpenMpWaiting"/>).
    /// </remarks>
    /// <exception cref="NativeLibraryException">The native libraries are missing or do not load.</exception>
    public static void EnsureLoaded() => _ = Loaded.Value;

    /// <summary>The device with a given name, if this machine has it.</summary>
    /// <param name="name"><c>cpu</c>, <c>cuda</c> or <c>cuda:N</c>.</param>
    /// <exception cref="NibbleException">The name is not valid, or libtorch finds no such device.</exception>
    public static torch.Device Device(string name)
    {
        ArgumentNullException.ThrowIfNull(name);
        EnsureLoaded();
        if (name == "cpu")
        {
            return torch.CPU;
        }

        var index = 0;
        if (name != "cuda" && !(
            name.StartsWith("cuda:", StringComparison.Ordinal)
            && int.TryParse(name.AsSpan("cuda:".Length), NumberStyles.None, CultureInfo.InvariantCulture, out index)))
        {
            throw new NibbleException($"there is no device '{name}', expected cpu, cuda or cuda:N");
        }

        if (!torch.cuda_is_available())
        {
            throw new NibbleException(
                $"the device {name} needs a CUDA build of libtorch, a driver and a GPU, but libtorch finds no GPU. Use cpu, or reference a TorchSharp-cuda "
                + $"package instead of TorchSharp-cpu");
        }

        var count = torch.cuda.device_count();
        return index < count ? torch.device(DeviceType.CUDA, index)
            : throw new NibbleException($"the device {name} does not exist. This machine has {count}: cuda:0 to cuda:{count - 1}");
    }

    /// <summary>Sets the number of threads of libtorch and of Nibble's own algorithms.</summary>
    /// <param name="threads">The number of threads, limited to the number of processors. Null uses all processors.</param>
    /// <exception cref="NativeLibraryException">The native libraries are missing or do not load.</exception>
    public static void UseThreads(int? threads)
    {
        EnsureLoaded();
        torch.set_num_threads(ThreadLimit.Cap(threads));
    }

    private static bool Load()
    {
        OpenMpWaiting.Shorten();
        if (OperatingSystem.IsLinux() && !SystemHasNewSymbol() && LoadPatched() is { } binding)
        {
            AssemblyLoadContext.Default.ResolvingUnmanagedDll += (_, name) => name == BindingName ? binding : IntPtr.Zero;
        }

        try
        {
            torch.InitializeDeviceType(DeviceType.CPU);
            return true;
        }
        catch (Exception e)
        {
            throw new NativeLibraryException(
                $"libtorch could not be loaded on {RuntimeInformation.OSDescription} ({RuntimeInformation.RuntimeIdentifier}): {e.GetBaseException().Message} "
                + "Reference TorchSharp-cpu (or a CUDA package of the same version) from the application, on linux-x64, win-x64 or osx-arm64.",
                e);
        }
    }

    private static bool SystemHasNewSymbol() =>
        NativeLibrary.TryLoad("libstdc++.so.6", out var library) && NativeLibrary.TryGetExport(library, ElfVersionPatch.NewSymbol, out _);

    /// <summary>Loads a rewritten copy of TorchSharp's library. Returns null if there is no library to rewrite.</summary>
    private static IntPtr? LoadPatched()
    {
        if (FindNative(BindingFile) is not { } binding || FindNative("libtorch_cpu.so") is not { } cpu)
        {
            return null;
        }

        try
        {
            // The copy is in another folder, so its own search path no longer finds these libraries.
            NativeLibrary.Load(cpu);
            NativeLibrary.Load(Path.Combine(Path.GetDirectoryName(cpu)!, "libtorch.so"));
        }
        catch (DllNotFoundException exception)
        {
            throw new NativeLibraryException(
                $"libtorch is in {Path.GetDirectoryName(cpu)} but does not load: {LastLine(exception.Message)}. It needs about 3 GB of address space "
                    + $"(ulimit -v).",
                exception);
        }

        var data = Environment.GetFolderPath(Environment.SpecialFolder.LocalApplicationData, Environment.SpecialFolderOption.DoNotVerify);
        return LoadPatched(binding, data.Length > 0 ? Path.Combine(data, "nibble", "native") : null);
    }

    /// <summary>Loads a rewritten copy of a library, which is kept for the next process if possible.</summary>
    /// <param name="binding">The library.</param>
    /// <param name="cache">The folder for copies. Null if the user has no such folder.</param>
    /// <exception cref="NativeLibraryException">
    /// A library cannot be written and loaded in that folder or in the folder for temporary files.
    /// </exception>
    internal static IntPtr LoadPatched(string binding, string? cache)
    {
        try
        {
            if (cache is not null)
            {
                return NativeLibrary.Load(PatchedCopy(binding, cache));
            }
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException or DllNotFoundException or InvalidDataException)
        {
            // The home folder may be missing, not writable, or mounted without execute permission, for example in containers.
        }

        var place = Path.GetTempPath();
        try
        {
            var temporary = Directory.CreateTempSubdirectory("nibble-native-");
            try
            {
                return NativeLibrary.Load(PatchedCopy(binding, temporary.FullName));
            }
            finally
            {
                // The loaded library stays in memory.
                temporary.Delete(recursive: true);
            }
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException or DllNotFoundException or InvalidDataException)
        {
            throw new NativeLibraryException(
                "TorchSharp's native library must be rewritten for this system, but no copy can be written and loaded in "
                + $"{(cache is null ? string.Empty : cache + " or ")}{place}: {LastLine(exception.Message)}. "
                + "Set HOME or TMPDIR to a writable folder that allows execution.",
                exception);
        }
    }

    /// <summary>The message of the system's loader, which is the last line.</summary>
    private static string LastLine(string message) => message.TrimEnd().Split('\n')[^1].Trim().TrimEnd('.');

    private static string? FindNative(string file)
    {
        var folders = (AppContext.GetData("NATIVE_DLL_SEARCH_DIRECTORIES") as string ?? string.Empty)
            .Split(Path.PathSeparator, StringSplitOptions.RemoveEmptyEntries)
            .Append(AppContext.BaseDirectory)
            .Append(Path.Combine(AppContext.BaseDirectory, "runtimes", "linux-x64", "native"));
        return folders.Select(folder => Path.Combine(folder, file)).FirstOrDefault(File.Exists);
    }

    /// <summary>The path of the rewritten copy of a library, which is created if it does not exist. Returns the library itself if it needs no change.</summary>
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

        // Two processes may start at once. Each writes its own file, and the last rename wins with the same bytes.
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
