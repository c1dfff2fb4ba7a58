using Nibble.Files;
using Nibble.Formats.Safetensors;

namespace Nibble.Tests.Files;

public sealed class ChecksumTests : IDisposable
{
    private const string Remedy = "make it again";
    private readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(3_000_000)]
    public void AFileReadsAsItWasWritten(int length)
    {
        var contents = Bytes(length);
        ChecksummedFile.Write(folder.File("file"), stream =>
        {
            stream.Write(contents.AsSpan(0, length / 3));
            stream.Write(contents, length / 3, length - (length / 3));
        });
        Assert.Equal(contents, ChecksummedFile.Read(folder.File("file"), Remedy));
        ChecksummedFile.Require(folder.File("file"), Remedy);
        Assert.Equal(length + ChecksummedFile.ChecksumLength, new FileInfo(folder.File("file")).Length);
    }

    [Fact]
    public void AChangedFileIsDamaged()
    {
        ChecksummedFile.Write(folder.File("file"), stream => stream.Write(Bytes(100)));
        var whole = File.ReadAllBytes(folder.File("file"));
        for (var place = 0; place < whole.Length; place++)
        {
            var changed = (byte[])whole.Clone();
            changed[place] ^= (byte)(1 << (place % 8));
            RequireDamaged(changed);
        }

        RequireDamaged([.. whole, 0]);
        for (var length = 0; length < whole.Length; length++)
        {
            RequireDamaged(whole[..length]);
        }
    }

    [Fact]
    public void ASafetensorsFileEndsInItsChecksumAndIsOneStill()
    {
        SafetensorsWriter.WriteChecksummed(
            folder.File("file"),
            [
                SafetensorsTensor.FromFloats("b", ElementType.F16, [2], new float[] { 1, 2 }),
                SafetensorsTensor.FromFloats("z", ElementType.F32, [1], new float[] { 3 }),
            ],
            new Dictionary<string, string> { ["format"] = "ours" });
        ChecksummedFile.Require(folder.File("file"), Remedy);
        using (var file = SafetensorsFile.Open(folder.File("file")))
        {
            Assert.Equal(["z", "b", "checksum"], file.Tensors.Select(tensor => tensor.Name));
            Assert.Equal([1, 2], file.ReadFloats("b"));
        }

        var whole = File.ReadAllBytes(folder.File("file"));
        whole[20] ^= 1;
        RequireDamaged(whole);
        var bytes = SafetensorsTensor.FromBytes("i", ElementType.I8, [1], new byte[1]);
        Assert.Throws<ArgumentException>(() => SafetensorsWriter.WriteChecksummed(folder.File("file"), [bytes]));
    }

    [Fact]
    public void AFolderIsDamagedWhereAFileWasChangedRemovedOrAdded()
    {
        folder.Write("a", "one");
        folder.Write("b b", "two");
        Assert.Throws<DamagedFileException>(() => FolderChecksums.Require(folder.Path, Remedy));
        FolderChecksums.Write(folder.Path);
        FolderChecksums.Require(folder.Path, Remedy);

        folder.Write("b b", "tw0");
        Refuses("b b");
        folder.Write("b b", "two");
        File.Delete(folder.File("a"));
        Refuses("a");
        folder.Write("a", "one");
        folder.Write("c", string.Empty);
        Refuses("c");
        File.Delete(folder.File("c"));
        FolderChecksums.Require(folder.Path, Remedy);
        File.WriteAllText(folder.File(FolderChecksums.FileName), string.Empty);
        Refuses("a");

        void Refuses(string name) => Assert.Equal(
            $"{folder.File(name)} is damaged: its checksum is not the one in checksums.txt next to it; make it again",
            Assert.Throws<DamagedFileException>(() => FolderChecksums.Require(folder.Path, Remedy)).Message);
    }

    private void RequireDamaged(byte[] bytes)
    {
        var path = folder.Write("damaged", bytes);
        Assert.Equal(
            $"{path} is damaged: its checksum does not match its contents; make it again",
            Assert.Throws<DamagedFileException>(() => ChecksummedFile.Read(path, Remedy)).Message);
        Assert.Throws<DamagedFileException>(() => ChecksummedFile.Require(path, Remedy));
    }

    private static byte[] Bytes(int length)
    {
        var bytes = new byte[length];
        new Random(5).NextBytes(bytes);
        return bytes;
    }
}
