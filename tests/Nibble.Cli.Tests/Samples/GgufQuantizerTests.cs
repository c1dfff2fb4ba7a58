using System.ComponentModel;
using Nibble.Cli.Comparison;
using Nibble.Cli.Tests.Commands;
using Nibble.Cli.Tests.Documents;

namespace Nibble.Cli.Tests.Samples;

/// <summary>samples/gguf-quantizer, published as a native program: the library has to survive trimming and native compilation.</summary>
[Collection(OneAtATime.Name)]
public sealed class GgufQuantizerTests : IDisposable
{
    private readonly TinyFolder folder = new();

    public void Dispose() => folder.Dispose();

    [Fact]
    public async Task TheNativeProgramWritesTheBytesOfTheCommand()
    {
        await RequireLinker();

        // Everything that the build writes is in the temporary folder. A warning of the native compiler is an error, as all warnings are here.
        // The analyzers have seen the sources when they were built.
        await ChildProcess.DotNet(
            Document.Root, "publish", "samples/gguf-quantizer", "-c", "Release", "--artifacts-path", folder.At("build"), "-o", folder.At("published"),
            "-nodeReuse:false", "-p:UseSharedCompilation=false", "-p:RunAnalyzers=false");
        await CommandRun.Succeeds("export", BuiltInModel.Folder, "--to", "gguf", "--type", "f16", "-o", folder.At("f16.gguf"));
        foreach (var type in (string[])["q4_k_m", "q4_0"])
        {
            var (expected, native) = (folder.At($"{type}.gguf"), folder.At($"{type}-native.gguf"));
            await CommandRun.Succeeds("quantize", folder.At("f16.gguf"), "--type", type, "-o", expected);
            var run = await Native(folder.At("f16.gguf"), type, native);

            Assert.True(run.ExitCode == 0, run.Error);
            Assert.Equal(
                await File.ReadAllBytesAsync(expected, TestContext.Current.CancellationToken),
                await File.ReadAllBytesAsync(native, TestContext.Current.CancellationToken));
            Assert.StartsWith($"{native}: {new FileInfo(expected).Length} bytes, ", run.Output, StringComparison.Ordinal);
        }

        await IsRefused(ExitCode.Usage, "Usage: GgufQuantizer FILE TYPE OUTPUT", folder.At("f16.gguf"), "q4_k_m");
        await IsRefused(ExitCode.Usage, "TYPE is 'q4', expected one of bf16, f16, q8_0, ", folder.At("f16.gguf"), "q4", folder.At("out.gguf"));
        await IsRefused(ExitCode.BadInput, "There is no file ", folder.At("absent.gguf"), "q4_k_m", folder.At("out.gguf"));
        await IsRefused(ExitCode.BadInput, "rounding a second time costs quality", folder.At("q4_0.gguf"), "q8_0", folder.At("out.gguf"));
        await IsRefused(ExitCode.BadInput, "exists already", folder.At("f16.gguf"), "q4_0", folder.At("q4_0.gguf"));
    }

    private async Task IsRefused(int exitCode, string message, params string[] arguments)
    {
        var run = await Native(arguments);
        Assert.Equal((exitCode, string.Empty), (run.ExitCode, run.Output));
        Assert.Contains(message, run.Error, StringComparison.Ordinal);
        Assert.False(File.Exists(folder.At("out.gguf")));
    }

    private Task<CommandRun> Native(params string[] arguments) => ChildProcess.Run(
        folder.Root, arguments, program: folder.At(Path.Combine("published", OperatingSystem.IsWindows() ? "GgufQuantizer.exe" : "GgufQuantizer")));

    /// <summary>Skips the test where no compiler links a program. The native compiler takes clang, or else gcc.</summary>
    private async Task RequireLinker()
    {
        Assert.SkipWhen(OperatingSystem.IsWindows(), "looks for clang or gcc, and Windows links with Visual C++");
        var source = folder.Write("empty.c", "int main(void) { return 0; }");
        foreach (var compiler in (string[])["clang", "gcc"])
        {
            try
            {
                if ((await ChildProcess.Run(folder.Root, [source, "-o", folder.At("empty")], program: compiler)).ExitCode == 0)
                {
                    return;
                }
            }
            catch (Win32Exception)
            {
                // It is not installed: try the next one.
            }
        }

        Assert.Skip("native compilation links with clang or gcc and the C library's headers (apt-get install gcc libc6-dev), which this machine does not have");
    }
}
