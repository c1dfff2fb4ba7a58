using Nibble.Files;
using System.Diagnostics;
using System.Text;

namespace Nibble.Tests.Files;

public sealed class InputFileTests : IDisposable
{
    private readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    [Fact]
    public void A_text_is_utf8()
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
    public void Lines_end_as_any_system_ends_them()
    {
        Assert.Equal(["a", "b", "", "c"], InputFile.ReadLines(folder.Write("a.txt", "a\r\nb\n\nc"), TestContext.Current.CancellationToken));
        Assert.Empty(InputFile.ReadLines(folder.Write("empty.txt", string.Empty), TestContext.Current.CancellationToken));
    }

    [Fact]
    public void A_zero_is_in_no_text()
    {
        var path = folder.File("text");
        File.WriteAllText(path, new string('a', 100_000) + "\0");
        var refusal = Assert.Throws<NibbleException>(() => InputFile.ReadText(path, TestContext.Current.CancellationToken));
        Assert.StartsWith($"{path}: a NUL byte at offset 100000 (line 1), expected a text in UTF-8", refusal.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void The_length_of_a_link_is_that_of_its_file()
    {
        var (path, link) = (folder.File("file"), folder.File("link"));
        File.WriteAllBytes(path, new byte[1000]);
        File.CreateSymbolicLink(link, path);
        Assert.Equal(1000, InputFile.Length(path));
        Assert.Equal(1000, InputFile.Length(link));
    }

    [Fact]
    public void Regular_files_and_links_to_them_and_nothing_at_all_pass()
    {
        var (path, link) = (folder.File("file"), folder.File("link"));
        File.WriteAllBytes(path, []);
        File.CreateSymbolicLink(link, path);
        Assert.All([path, link, folder.Path, folder.File("none")], InputFile.RequireRegular);
    }

    [Fact]
    public async Task What_has_no_end_or_no_beginning_is_refused_or_can_be_given_up()
    {
        Assert.SkipUnless(OperatingSystem.IsLinux(), "makes a pipe with mkfifo");
        var pipe = folder.File("pipe");
        using (var process = Process.Start("mkfifo", pipe))
        {
            await process.WaitForExitAsync(TestContext.Current.CancellationToken);
        }

        var refusal = Assert.Throws<NibbleException>(() => InputFile.RequireRegular(pipe));
        Assert.Equal($"{pipe} is a pipe, expected a regular file; copy what it gives into one first", refusal.Message);
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
