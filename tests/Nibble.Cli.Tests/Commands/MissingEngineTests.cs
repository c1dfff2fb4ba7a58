namespace Nibble.Cli.Tests.Commands;

/// <summary>The program where ONNX Runtime's native library cannot be loaded.</summary>
[Collection(OneAtATime.Name)]
public sealed class MissingEngineTests : IDisposable
{
    private const string Library = "libonnxruntime.so";

    private readonly TinyFolder folder = new();

    public void Dispose() => folder.Dispose();

    [Fact]
    public async Task CommandsThatNeedItSaySoAndEndWithTheirOwnCode()
    {
        Assert.SkipUnless(OperatingSystem.IsLinux(), "links files as Linux does");
        await CommandRun.Succeeds("export", folder.Model, "--to", "onnx", "-o", folder.At("exported/model.onnx"));
        var program = Mutilate(folder.At("program"));
        foreach (var line in (string[][])[["generate", folder.At("exported"), "-p", "The fox"], ["bench", folder.At("exported"), "--repeats", "1"]])
        {
            using var child = ChildProcess.Start(folder.Root, line, program: program);
            var (_, error) = await child.Finish();
            Assert.Equal(ExitCode.NativeLibrary, child.ExitCode);
            Assert.Contains("ONNX Runtime's native library cannot be loaded", error, StringComparison.Ordinal);
            Assert.DoesNotContain("internal error", error, StringComparison.Ordinal);
        }
    }

    /// <summary>Links the built program into a folder, with an empty file in the library's place.</summary>
    private static string Mutilate(string target)
    {
        Link(AppContext.BaseDirectory, target);
        return Path.Combine(target, "Nibble.Cli");

        static void Link(string source, string target)
        {
            Directory.CreateDirectory(target);
            foreach (var file in Directory.EnumerateFiles(source))
            {
                var link = Path.Combine(target, Path.GetFileName(file));
                if (Path.GetFileName(file) == Library)
                {
                    File.WriteAllText(link, string.Empty);
                }
                else if (Path.GetFileName(file).StartsWith("Nibble.Cli", StringComparison.Ordinal))
                {
                    // The launcher looks for the program beside what a link leads to.
                    File.Copy(file, link);
                }
                else
                {
                    File.CreateSymbolicLink(link, file);
                }
            }

            foreach (var child in Directory.EnumerateDirectories(source))
            {
                Link(child, Path.Combine(target, Path.GetFileName(child)));
            }
        }
    }
}
