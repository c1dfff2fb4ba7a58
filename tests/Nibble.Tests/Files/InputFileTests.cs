using Nibble.Files;
using System.Diagnostics;
using System.Text;

namespace Nibble.Tests.Files;

public sealed class InputFileTests : IDisposable
{
    private readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    [Fact]
    public void ATextIsUtf8()
    {
        var path = folder.File("text");
        File.WriteAllText(path, "naïve 你好", new UTF8Encoding(encoderShouldEmitUTF8Identifier: false));
        Assert.Equal("naïve 你好", InputFile.ReadText(path, TestContext.Current.CancellationToken));
        File.WriteAllText(path, "naïve 你好", Encoding.UTF8);
        Assert.Equal("naïve 你好", InputFile.ReadText(path, TestContext.Current.CancellationToken));
        File.WriteAllText(path, "naïve 你好", Encoding.Unicode);
        var refusal = Assert.Throws<NibbleException>(() => InputFile.ReadText(path, TestContext.Current.CancellationToken));
        Assert.StartsWith($"{path}: the text is in UTF-16, expected UTF-8", refusal.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void LinesEndAsAnySystemEndsThem()
    {
        Assert.Equal(["a", "b", "", "c"], InputFile.ReadLines(folder.Write("a.txt", "a\r\nb\n\nc"), TestContext.Current.CancellationToken));
        Assert.Empty(InputFile.ReadLines(folder.Write("empty.txt", string.Empty), TestContext.Current.CancellationToken));
    }

    [Fact]
    public void AZeroIsInNoText()
    {
        var path = folder.File("text");
        File.WriteAllText(path, new string('a', 100_000) + "\0");
        var refusal = Assert.Throws<NibbleException>(() => InputFile.ReadText(path, TestContext.Current.CancellationToken));
        Assert.StartsWith($"{path}: a NUL byte at offset 100000 (line 1), expected UTF-8 text", refusal.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void TheLengthOfALinkIsThatOfItsFile()
    {
        var (path, link) = (folder.File("file"), folder.File("link"));
        File.WriteAllBytes(path, new byte[1000]);
        File.CreateSymbolicLink(link, path);
        Assert.Equal(1000, InputFile.Length(path));
        Assert.Equal(1000, InputFile.Length(link));
    }

    [Fact]
    public void RegularFilesAndLinksToThemAndNothingAtAllPass()
    {
        var (path, link) = (folder.File("file"), folder.File("link"));
        File.WriteAllBytes(path, []);
        File.CreateSymbolicLink(link, path);
        Assert.All([path, link, folder.Path, folder.File("none")], InputFile.RequireRegular);
    }

    [Fact]
    public async Task WhatHasNoEndOrNoBeginningIsRefusedOrCanBeGivenUp()
    {
        Assert.SkipUnless(OperatingSystem.IsLinux(), "makes a pipe with mkfifo");
        var pipe = folder.File("pipe");
        using (var process = Process.Start("mkfifo", pipe))
        {
            await process.WaitForExitAsync(TestContext.Current.CancellationToken);
        }

        var refusal = Assert.Throws<NibbleException>(() => InputFile.RequireRegular(pipe));
        Assert.Equal($"{pipe} is a pipe, expected a regular file; copy its contents into one first", refusal.Message);
        Assert.Contains("/dev/zero is a device", Assert.Throws<NibbleException>(() => InputFile.RequireRegular("/dev/zero")).Message, StringComparison.Ordinal);
        refusal = Assert.Throws<NibbleException>(() => InputFile.ReadText("/dev/zero", TestContext.Current.CancellationToken));
        Assert.StartsWith("/dev/zero: a NUL byte at offset 0", refusal.Message, StringComparison.Ordinal);
        using var source = new CancellationTokenSource();
        var reading = Task.Run(() => InputFile.ReadText(pipe, source.Token), CancellationToken.None);
        await source.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => reading);

        // Lets the thread go that still waits.
        await File.WriteAllTextAsync(pipe, "text", TestContext.Current.CancellationToken);
    }
}
