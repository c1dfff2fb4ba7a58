using System.Runtime.InteropServices;

namespace Nibble.Tests;

public sealed partial class NativeEnvironmentTests
{
    [Theory]
    [InlineData(null, "default")]
    [InlineData("chosen", "chosen")]
    public void ADefaultReachesNativeLibrariesUnlessThereIsAValueWhichThenDoes(string? chosen, string expected)
    {
        Assert.SkipWhen(OperatingSystem.IsWindows(), "asks the C library of Unix");
        var name = $"NIBBLE_TEST_{chosen}";
        Environment.SetEnvironmentVariable(name, chosen);

        NativeEnvironment.SetDefault(name, "default");

        Assert.Equal(expected, Environment.GetEnvironmentVariable(name));
        Assert.Equal(expected, Marshal.PtrToStringUTF8(GetNative(name)));
    }

    [Fact]
    public void ThreadsAreAtMostTheProcessors()
    {
        Assert.Equal(Environment.ProcessorCount, ThreadLimit.Cap(null));
        Assert.Equal(Environment.ProcessorCount, ThreadLimit.Cap(int.MaxValue));
        Assert.Equal(1, ThreadLimit.Cap(1));
        Assert.Equal(1, ThreadLimit.Cap(0));
    }

    [LibraryImport("libc", EntryPoint = "getenv", StringMarshalling = StringMarshalling.Utf8)]
    private static partial nint GetNative(string name);
}
