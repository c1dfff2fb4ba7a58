using Nibble.Cli.Tests.Commands;

namespace Nibble.Cli.Tests.Documents;

/// <summary>The documentation site: DocFX builds it from the documents and the XML docs, and fails at a broken link.</summary>
[Collection(OneAtATime.Name)]
public class SiteTests
{
    [Fact]
    public async Task BuildsWithoutAWarning()
    {
        Assert.SkipUnless(
            File.Exists(Path.Combine(Document.Root, "src", "Nibble", "bin", "Release", "net10.0", "Nibble.dll")), "the site is made of a release build");

        await ChildProcess.DotNet(Document.Root, "tool", "restore");
        await ChildProcess.DotNet(Document.Root, "docfx", "docfx.json", "--warningsAsErrors");

        var site = Path.Combine(Document.Root, "obj", "docfx", "site");
        Assert.All(
            (string[])["index.html", "docs/index.html", "docs/reference/commands/compare.html", "api/Nibble.Quantize.html"],
            page => Assert.True(File.Exists(Path.Combine(site, page)), page));
    }
}
