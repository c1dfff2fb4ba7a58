using Nibble.Files;

namespace Nibble.Tests.Files;

public sealed class AtomicFileTests : IDisposable
{
    private readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    [Fact]
    public void TwoWritersOfOneFileHaveTemporaryFilesOfTheirOwn()
    {
        // Two containers that share a folder often have the same process id.
        var path = folder.File("model");
        AtomicFile.Write(path, outer =>
        {
            outer.Write("outer"u8);
            AtomicFile.Write(path, inner => inner.Write("in"u8));
            Assert.Equal("in", File.ReadAllText(path));
            outer.Write(" again"u8);
        });
        Assert.Equal("outer again", File.ReadAllText(path));
        Assert.Equal([path], Directory.EnumerateFileSystemEntries(folder.Path));
    }

    [Fact]
    public void TwoMakersOfOneFolderHaveTemporaryFoldersOfTheirOwnAndTheSecondLosesNothing()
    {
        var path = folder.File("out");
        var message = Assert.Throws<NibbleException>(() => AtomicFile.MakeFolder(path, outer =>
        {
            File.WriteAllText(Path.Combine(outer, "file"), "outer");
            AtomicFile.MakeFolder(path + Path.DirectorySeparatorChar, inner => File.WriteAllText(Path.Combine(inner, "file"), "inner"));
        })).Message;
        Assert.Equal("inner", File.ReadAllText(Path.Combine(path, "file")));
        var kept = Assert.Single(Directory.EnumerateDirectories(folder.Path), other => other != path);
        Assert.Equal($"{path} did not exist when the work began but exists now, and was not overwritten; the output is in {kept}", message);
        Assert.Equal("outer", File.ReadAllText(Path.Combine(kept, "file")));
    }

    [Fact]
    public void WhatMustNotBeReplacedStaysAsItIs()
    {
        var path = folder.Write("theirs", "theirs");
        Assert.Throws<NibbleException>(() => AtomicFile.Write(path, _ => Assert.Fail("nothing is to be made"), replace: false));
        Assert.Throws<NibbleException>(() => AtomicFile.WriteAt(path, 1, _ => Assert.Fail("nothing is to be made"), replace: false));
        Assert.Throws<NibbleException>(() => AtomicFile.MakeFolder(path, _ => Assert.Fail("nothing is to be made")));
        Assert.Equal("theirs", File.ReadAllText(path));
        Assert.Equal([path], Directory.EnumerateFileSystemEntries(folder.Path));
    }

    [Fact]
    public void WhatComesIntoBeingMeanwhileStaysAsItIsAndNothingIsLost()
    {
        var path = folder.File("file");
        Assert.Throws<NibbleException>(() => AtomicFile.Write(
            path,
            stream =>
            {
                stream.Write("ours"u8);
                File.WriteAllText(path, "theirs");
            },
            replace: false));
        Assert.Equal("theirs", File.ReadAllText(path));
        Assert.Equal("ours", File.ReadAllText(Assert.Single(Directory.EnumerateFiles(folder.Path), other => other != path)));
    }

    [Fact]
    public void ALinkThatLeadsNowhereExists()
    {
        var path = folder.File("link");
        File.CreateSymbolicLink(path, folder.File("nowhere"));
        Assert.True(AtomicFile.Exists(path));
        Assert.Throws<NibbleException>(() => AtomicFile.Write(path, _ => { }, replace: false));
        Assert.Equal(folder.File("nowhere"), new FileInfo(path).LinkTarget);
        File.Delete(path);
        Assert.False(AtomicFile.Exists(path));
    }

    [Fact]
    public void AFailureLeavesNothing()
    {
        Assert.Throws<InvalidOperationException>(() => AtomicFile.Write(folder.File("a"), _ => throw new InvalidOperationException()));
        Assert.Throws<InvalidOperationException>(() => AtomicFile.WriteAt(folder.File("b"), 5, _ => throw new InvalidOperationException()));
        Assert.Throws<InvalidOperationException>(() => AtomicFile.MakeFolder(folder.File("c"), _ => throw new InvalidOperationException()));
        Assert.Empty(Directory.EnumerateFileSystemEntries(folder.Path));
    }

    [Fact]
    public void TryLeavesNothingAndFindsWhatCannotBeWritten()
    {
        AtomicFile.Try(folder.File("file"));
        AtomicFile.Try(folder.File("missing/too/file"));
        AtomicFile.Try(folder.File("folder/"));
        Assert.Empty(Directory.EnumerateFileSystemEntries(folder.Path));
        Assert.ThrowsAny<IOException>(() => AtomicFile.Try(folder.File(new string('x', 250))));
        Assert.ThrowsAny<IOException>(() => AtomicFile.Try(Path.Combine(folder.Write("file", "text"), "inside")));
    }

    [Fact]
    public void DiskSpaceIsRequired()
    {
        DiskSpace.Require(folder.File("missing/file"), 1, "the file");
        var message = Assert.Throws<IOException>(() =>
            AtomicFile.WriteAt(folder.File("file"), long.MaxValue, _ => Assert.Fail("nothing is to be made"))).Message;
        Assert.StartsWith($"{folder.File("file")}: the file takes 9,223,372,036,854,775,807 bytes, but the disk has ", message, StringComparison.Ordinal);
        Assert.Empty(Directory.EnumerateFileSystemEntries(folder.Path));
    }
}
