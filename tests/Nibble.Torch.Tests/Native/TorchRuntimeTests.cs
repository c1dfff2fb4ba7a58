using System.Runtime.InteropServices;
using System.Security.Cryptography;
using Nibble.Torch.Native;
using Nibble.Torch.Tests.Shared;

namespace Nibble.Torch.Tests.Native;

public sealed partial class TorchRuntimeTests : IDisposable
{
    private readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    [Fact]
    public void EnsureLoadedCanBeCalledAgain()
    {
        TorchRuntime.EnsureLoaded();
        TorchRuntime.EnsureLoaded();
        using var two = TorchSharp.torch.tensor(2f);
        Assert.Equal(2f, two.item<float>());
    }

    [Fact]
    public void EnsureLoadedTellsOpenMPToSleepSoonUnlessTheUserChose()
    {
        Assert.SkipUnless(OperatingSystem.IsLinux(), "libtorch has GNU's OpenMP on Linux alone");
        TorchRuntime.EnsureLoaded();
        var policy = Environment.GetEnvironmentVariable("OMP_WAIT_POLICY");
        var spins = Environment.GetEnvironmentVariable("GOMP_SPINCOUNT");
        Assert.True(policy is not null || spins is not null);
        Assert.Equal(policy, Marshal.PtrToStringUTF8(GetNative("OMP_WAIT_POLICY")));
        Assert.Equal(spins, Marshal.PtrToStringUTF8(GetNative("GOMP_SPINCOUNT")));
    }

    [Fact]
    public void UseThreadsUsesNoMoreThanThereAreProcessors()
    {
        var before = TorchSharp.torch.get_num_threads();
        try
        {
            TorchRuntime.UseThreads(100_000);
            Assert.Equal(Environment.ProcessorCount, TorchSharp.torch.get_num_threads());
            TorchRuntime.UseThreads(1);
            Assert.Equal(1, TorchSharp.torch.get_num_threads());
            TorchRuntime.UseThreads(null);
            Assert.Equal(Environment.ProcessorCount, TorchSharp.torch.get_num_threads());
        }
        finally
        {
            TorchSharp.torch.set_num_threads(before);
        }
    }

    [Fact]
    public void PatchedCopyIsKeyedByTheOriginalsHashAndWrittenOnce()
    {
        var bytes = NativeLibraryFile.Read();
        var cache = folder.File("cache");
        var hash = Convert.ToHexStringLower(SHA256.HashData(bytes))[..16];

        var copy = TorchRuntime.PatchedCopy(NativeLibraryFile.Path, cache);
        Assert.Equal(Path.Combine(cache, hash, "libLibTorchSharp.so"), copy);
        Assert.True(ElfVersionPatch.TryApply(bytes));
        Assert.True(bytes.AsSpan().SequenceEqual(File.ReadAllBytes(copy)));
        Assert.Equal([copy], Files(cache));

        var written = new DateTime(2001, 2, 3, 4, 5, 6, DateTimeKind.Utc);
        File.SetLastWriteTimeUtc(copy, written);
        Assert.Equal(copy, TorchRuntime.PatchedCopy(NativeLibraryFile.Path, cache));
        Assert.Equal(written, File.GetLastWriteTimeUtc(copy));
    }

    [Fact]
    public void PatchedCopyReplacesACopyThatIsNotWhole()
    {
        var bytes = NativeLibraryFile.Read();
        var copy = TorchRuntime.PatchedCopy(NativeLibraryFile.Path, folder.Path);
        File.WriteAllText(copy, "cut off");
        Assert.Equal(copy, TorchRuntime.PatchedCopy(NativeLibraryFile.Path, folder.Path));
        Assert.Equal(bytes.Length, new FileInfo(copy).Length);
    }

    [Fact]
    public async Task PatchedCopyCalledAtOnceGivesOneFile()
    {
        var bytes = NativeLibraryFile.Read();
        ElfVersionPatch.TryApply(bytes);
        var copies = await Task.WhenAll(Enumerable.Range(0, 4).Select(_ => Task.Run(() => TorchRuntime.PatchedCopy(NativeLibraryFile.Path, folder.Path))));
        var copy = Assert.Single(copies.Distinct());
        Assert.Equal([copy], Files(folder.Path));
        Assert.True(bytes.AsSpan().SequenceEqual(File.ReadAllBytes(copy)));
    }

    [Fact]
    public void PatchedCopyOfALibraryThatNeedsNothingIsTheLibrary()
    {
        var bytes = NativeLibraryFile.Read();
        ElfVersionPatch.TryApply(bytes);
        var library = folder.File("old.so");
        File.WriteAllBytes(library, bytes);
        Assert.Equal(library, TorchRuntime.PatchedCopy(library, folder.File("cache")));
        Assert.False(Path.Exists(folder.File("cache")));
    }

    [Fact]
    public void PatchedCopyOfWhatIsNoLibraryWritesNothing()
    {
        var text = folder.Write("text.so", "text");
        Assert.Throws<InvalidDataException>(() => TorchRuntime.PatchedCopy(text, folder.File("cache")));
        Assert.False(Path.Exists(folder.File("cache")));
    }

    private static string[] Files(string path) => Directory.GetFiles(path, "*", SearchOption.AllDirectories);

    [LibraryImport("libc", EntryPoint = "getenv", StringMarshalling = StringMarshalling.Utf8)]
    private static partial nint GetNative(string name);
}
