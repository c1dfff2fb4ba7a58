using System.Globalization;
using System.Runtime.InteropServices;
using System.Runtime.Loader;
using System.Security.Cryptography;
using TorchSharp;

namespace Nibble.Torch.Native;

/// <summary>Loads libtorch, also on systems whose libstdc++ is older than the one TorchSharp was built for.</summary>
public static class TorchRuntime
{
    private const string BindingName = "LibTorchSharp";
    private const string BindingFile = $"lib{BindingName}.so";
    private static readonly Lazy<bool> Loaded = new(Load);

    /// <summary>Makes TorchSharp usable in this process; call it before the first use of <c>torch</c>. Later calls do nothing.</summary>
    /// <remarks>
    /// TorchSharp's native library asks for libstdc++ of GCC 13. Where the system's is older (Debian 12, Ubuntu 22.04), a copy in
    /// which that one reference is rewritten is kept in the user's application data folder, under a name made of the original's
    /// hash, and loaded instead; where that folder cannot be used, a copy in the folder for temporary files is loaded and deleted.
    /// Elsewhere nothing is written. On Linux its threads are told to sleep soon when they wait (<see cref="OpenMpWaiting"/>).
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
        if (name != "cuda" && !(
            name.StartsWith("cuda:", StringComparison.Ordinal)
            && int.TryParse(name.AsSpan("cuda:".Length), NumberStyles.None, CultureInfo.InvariantCulture, out index)))
        {
            throw new NibbleException($"there is no device '{name}', expected cpu, cuda or cuda:N");
        }

        if (!torch.cuda_is_available())
        {
            throw new NibbleException(
                $"the device {name} needs a libtorch for CUDA, a driver and a card, and libtorch here reaches none; use cpu, or reference a TorchSharp-cuda "
                + $"package instead of TorchSharp-cpu");
        }

        var count = torch.cuda.device_count();
        return index < count ? torch.device(DeviceType.CUDA, index)
            : throw new NibbleException($"the device {name} does not exist, this machine has {count}: cuda:0 to cuda:{count - 1}");
    }

    /// <summary>Sets the threads that libtorch computes with, and those of the algorithms here that go with it.</summary>
    /// <param name="threads">The number, of which no more are used than there are processors; null for as many.</param>
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

    /// <summary>Loads a rewritten copy of TorchSharp's library; null where there is no library to rewrite.</summary>
    private static IntPtr? LoadPatched()
    {
        if (FindNative(BindingFile) is not { } binding || FindNative("libtorch_cpu.so") is not { } cpu)
        {
            return null;
        }

        try
        {
            // The copy lies in another folder, so its own search path no longer finds these.
            NativeLibrary.Load(cpu);
            NativeLibrary.Load(Path.Combine(Path.GetDirectoryName(cpu)!, "libtorch.so"));
        }
        catch (DllNotFoundException exception)
        {
            throw new NativeLibraryException(
                $"libtorch is in {Path.GetDirectoryName(cpu)} and does not load: {LastLine(exception.Message)}. It needs some 3 GB of address space "
                    + $"(ulimit -v).",
                exception);
        }

        var data = Environment.GetFolderPath(Environment.SpecialFolder.LocalApplicationData, Environment.SpecialFolderOption.DoNotVerify);
        return LoadPatched(binding, data.Length > 0 ? Path.Combine(data, "nibble", "native") : null);
    }

    /// <summary>Loads a rewritten copy of a library, which is kept for the next process where it can be.</summary>
    /// <param name="binding">The library.</param>
    /// <param name="cache">Where copies are kept; null where this user has no such place.</param>
    /// <exception cref="NativeLibraryException">Neither there nor in the folder for temporary files can a library be written and loaded.</exception>
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
            // A home that is missing, that cannot be written, or whose files must not be executed: containers have them.
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
                // What is loaded stays.
                temporary.Delete(recursive: true);
            }
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException or DllNotFoundException or InvalidDataException)
        {
            throw new NativeLibraryException(
                "TorchSharp's native library needs a rewritten copy on this system, and none can be written and loaded in "
                + $"{(cache is null ? string.Empty : cache + " or ")}{place}: {LastLine(exception.Message)}. "
                + "Set HOME or TMPDIR to a folder that can be written and whose files can be executed.",
                exception);
        }
    }

    /// <summary>What the system's loader says, which stands at the end.</summary>
    private static string LastLine(string message) => message.TrimEnd().Split('\n')[^1].Trim().TrimEnd('.');

    private static string? FindNative(string file)
    {
        var folders = (AppContext.GetData("NATIVE_DLL_SEARCH_DIRECTORIES") as string ?? string.Empty)
            .Split(Path.PathSeparator, StringSplitOptions.RemoveEmptyEntries)
            .Append(AppContext.BaseDirectory)
            .Append(Path.Combine(AppContext.BaseDirectory, "runtimes", "linux-x64", "native"));
        return folders.Select(folder => Path.Combine(folder, file)).FirstOrDefault(File.Exists);
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
