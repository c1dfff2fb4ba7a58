using System.Diagnostics;
using Nibble.Cli.Tests.Commands;

namespace Nibble.Cli.Tests.Documents;

/// <summary>The documentation site: DocFX builds it from the documents and the XML docs, and fails at a broken link.</summary>
[Collection(OneAtATime.Name)]
public class SiteTests
{
    private static readonly TimeSpan Patience = TimeSpan.FromMinutes(5);

    [Fact]
    public async Task BuildsWithoutAWarning()
    {
        Assert.SkipUnless(
            File.Exists(Path.Combine(Document.Root, "src", "Nibble", "bin", "Release", "net10.0", "Nibble.dll")), "the site is made of a release build");

        await Run("tool", "restore");
        await Run("docfx", "docfx.json", "--warningsAsErrors");

        var site = Path.Combine(Document.Root, "obj", "docfx", "site");
        Assert.All(
            (string[])["index.html", "docs/index.html", "docs/reference/commands/compare.html", "api/Nibble.Quantize.html"],
            page => Assert.True(File.Exists(Path.Combine(site, page)), page));
    }

    private static async Task Run(params string[] arguments)
    {
        var start = new ProcessStartInfo("dotnet", arguments)
        {
            WorkingDirectory = Document.Root,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        };

        // The test host's settings of MSBuild are not meant for other builds.
        foreach (var name in start.Environment.Keys.Where(name => name.StartsWith("MSBUILD", StringComparison.OrdinalIgnoreCase)).ToList())
        {
            start.Environment.Remove(name);
        }

        using var process = Process.Start(start)!;
        using var patience = CancellationTokenSource.CreateLinkedTokenSource(TestContext.Current.CancellationToken);
        patience.CancelAfter(Patience);
        try
        {
            var (output, error) = (process.StandardOutput.ReadToEndAsync(patience.Token), process.StandardError.ReadToEndAsync(patience.Token));
            await process.WaitForExitAsync(patience.Token);
            Assert.True(process.ExitCode == 0, $"dotnet {string.Join(' ', arguments)} ended with {process.ExitCode}:\n{await output}\n{await error}");
        }
        finally
        {
            if (!process.HasExited)
            {
                process.Kill(entireProcessTree: true);
            }
        }
    }
}
