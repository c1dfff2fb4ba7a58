using Nibble.Files;
using System.Text;

namespace Nibble.Tests.Files;

public sealed class Utf8TextTests
{
    private const string Text = "Grüße, 世界 😀\nline two\n";

    [Fact]
    public void TextIsReadAsItIsWithoutAByteOrderMark()
    {
        Assert.Equal(Text, Utf8Text.Decode(Encoding.UTF8.GetBytes(Text), "a.txt"));
        Assert.Equal(Text, Utf8Text.Decode([.. Encoding.UTF8.Preamble, .. Encoding.UTF8.GetBytes(Text)], "a.txt"));
        Assert.Equal(string.Empty, Utf8Text.Decode([], "a.txt"));
    }

    [Theory]
    [InlineData("utf-16")]
    [InlineData("utf-16BE")]
    [InlineData("utf-32")]
    public void OtherUnicodeIsNamed(string name)
    {
        var encoding = Encoding.GetEncoding(name);
        var kind = name.StartsWith("utf-32", StringComparison.Ordinal) ? "UTF-32" : "UTF-16";
        Assert.Contains($"a.txt: the text is in {kind}, expected UTF-8; convert it", Fault([.. encoding.Preamble, .. encoding.GetBytes(Text)]),
            StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("utf-16", "UTF-16LE")]
    [InlineData("utf-16BE", "UTF-16BE")]
    public void Utf16WithoutAMarkIsRecognised(string name, string expected) =>
        Assert.Contains($"the text is in {expected}", Fault(Encoding.GetEncoding(name).GetBytes("A plain text of some words.\n")), StringComparison.Ordinal);

    [Fact]
    public void Latin1IsRefusedWithTheByteAndItsPlace() =>
        Assert.StartsWith(
            "a.txt: byte 0xE9 at offset 12 (line 2) is not UTF-8, expected UTF-8 text; if it is Latin-1 or Windows-1252, convert it, for example with "
                + "iconv -f WINDOWS-1252 -t UTF-8",
            Fault(Encoding.Latin1.GetBytes("plain\nun caf\u00e9 noir\n")),
            StringComparison.Ordinal);

    [Theory]
    [InlineData(new byte[] { 0x61, 0xC0, 0x80, 0x62 }, "byte 0xC0 at offset 1")]
    [InlineData(new byte[] { 0x61, 0xED, 0xA0, 0x80 }, "byte 0xED at offset 1")]
    [InlineData(new byte[] { 0x61, 0xE4, 0xB8 }, "ends in the middle of a UTF-8 character, at offset 1 (line 1)")]
    [InlineData(new byte[] { 0x61, 0x0A, 0x00, 0x62 }, "a NUL byte at offset 2 (line 2)")]
    public void WhatIsNoTextIsRefused(byte[] bytes, string complaint) => Assert.Contains(complaint, Fault(bytes), StringComparison.Ordinal);

    private static string Fault(byte[] bytes) => Assert.Throws<NibbleException>(() => Utf8Text.Decode(bytes, "a.txt")).Message;
}
