using Nibble.Files;

namespace Nibble.Tests.Files;

public sealed class AtomicFileTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Fact]
    public void TwoWritersOfOneFile_HaveTemporaryFilesOfTheirOwn()
    {
        // Two containers that share a folder often have the same process id.
        var path = _folder.File("model");
        AtomicFile.Write(path, outer =>
        {
            outer.Write("outer"u8);
            AtomicFile.Write(path, inner => inner.Write("in"u8));
            Assert.Equal("in", File.ReadAllText(path));
            outer.Write(" again"u8);
        });
        Assert.Equal("outer again", File.ReadAllText(path));
        Assert.Equal([path], Directory.EnumerateFileSystemEntries(_folder.Path));
    }

    [Fact]
    public void TwoMakersOfOneFolder_HaveTemporaryFoldersOfTheirOwn_AndTheSecondLosesNothing()
    {
        var path = _folder.File("out");
        var message = Assert.Throws<NibbleException>(() => AtomicFile.MakeFolder(path, outer =>
        {
            File.WriteAllText(Path.Combine(outer, "file"), "outer");
            AtomicFile.MakeFolder(path + Path.DirectorySeparatorChar, inner => File.WriteAllText(Path.Combine(inner, "file"), "inner"));
        })).Message;
        Assert.Equal("inner", File.ReadAllText(Path.Combine(path, "file")));
        var kept = Assert.Single(Directory.EnumerateDirectories(_folder.Path), other => other != path);
        Assert.Equal($"{path} exists now, though it did not when the work began, and is left as it is; what was made is in {kept}", message);
        Assert.Equal("outer", File.ReadAllText(Path.Combine(kept, "file")));
    }

    [Fact]
    public void WhatMustNotBeReplaced_StaysAsItIs()
    {
        var path = _folder.Write("theirs", "theirs");
        Assert.Throws<NibbleException>(() => AtomicFile.Write(path, _ => Assert.Fail("nothing is to be made"), replace: false));
        Assert.Throws<NibbleException>(() => AtomicFile.WriteAt(path, 1, _ => Assert.Fail("nothing is to be made"), replace: false));
        Assert.Throws<NibbleException>(() => AtomicFile.MakeFolder(path, _ => Assert.Fail("nothing is to be made")));
        Assert.Equal("theirs", File.ReadAllText(path));
        Assert.Equal([path], Directory.EnumerateFileSystemEntries(_folder.Path));
    }

    [Fact]
    public void WhatComesIntoBeingMeanwhile_StaysAsItIs_AndNothingIsLost()
    {
        var path = _folder.File("file");
        Assert.Throws<NibbleException>(() => AtomicFile.Write(
            path,
            stream =>
            {
                stream.Write("ours"u8);
                File.WriteAllText(path, "theirs");
            },
            replace: false));
        Assert.Equal("theirs", File.ReadAllText(path));
        Assert.Equal("ours", File.ReadAllText(Assert.Single(Directory.EnumerateFiles(_folder.Path), other => other != path)));
    }

    [Fact]
    public void ALinkThatLeadsNowhere_Exists()
    {
        var path = _folder.File("link");
        File.CreateSymbolicLink(path, _folder.File("nowhere"));
        Assert.True(AtomicFile.Exists(path));
        Assert.Throws<NibbleException>(() => AtomicFile.Write(path, _ => { }, replace: false));
        Assert.Equal(_folder.File("nowhere"), new FileInfo(path).LinkTarget);
        File.Delete(path);
        Assert.False(AtomicFile.Exists(path));
    }

    [Fact]
    public void AFailureLeavesNothing()
    {
        Assert.Throws<InvalidOperationException>(() => AtomicFile.Write(_folder.File("a"), _ => throw new InvalidOperationException()));
        Assert.Throws<InvalidOperationException>(() => AtomicFile.WriteAt(_folder.File("b"), 5, _ => throw new InvalidOperationException()));
        Assert.Throws<InvalidOperationException>(() => AtomicFile.MakeFolder(_folder.File("c"), _ => throw new InvalidOperationException()));
        Assert.Empty(Directory.EnumerateFileSystemEntries(_folder.Path));
    }

    [Fact]
    public void Try_LeavesNothing_AndFindsWhatCannotBeWritten()
    {
        AtomicFile.Try(_folder.File("file"));
        AtomicFile.Try(_folder.File("missing/too/file"));
        AtomicFile.Try(_folder.File("folder/"));
        Assert.Empty(Directory.EnumerateFileSystemEntries(_folder.Path));
        Assert.ThrowsAny<IOException>(() => AtomicFile.Try(_folder.File(new string('x', 250))));
        Assert.ThrowsAny<IOException>(() => AtomicFile.Try(Path.Combine(_folder.Write("file", "text"), "inside")));
    }

    [Fact]
    public void DiskSpace_IsRequired()
    {
        DiskSpace.Require(_folder.File("missing/file"), 1, "the file");
        var message = Assert.Throws<IOException>(() =>
            AtomicFile.WriteAt(_folder.File("file"), long.MaxValue, _ => Assert.Fail("nothing is to be made"))).Message;
        Assert.StartsWith($"{_folder.File("file")}: the file takes 9,223,372,036,854,775,807 bytes, and the disk has ", message, StringComparison.Ordinal);
        Assert.Empty(Directory.EnumerateFileSystemEntries(_folder.Path));
    }
}
