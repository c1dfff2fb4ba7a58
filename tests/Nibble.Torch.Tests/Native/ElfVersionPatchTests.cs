using System.Buffers.Binary;
using System.Text;
using Nibble.Torch.Native;

namespace Nibble.Torch.Tests.Native;

public sealed class ElfVersionPatchTests
{
    private const string NewSymbol = "_ZSt21ios_base_library_initv";
    private const string OldSymbol = "_ZNSt8ios_base4InitC1Ev";

    [Fact]
    public void PatchChangesTheNameTheVersionIndexAndTheVersionRecordAndNothingElse()
    {
        var original = NativeLibraryFile.Read();
        var patched = original.ToArray();
        Assert.True(ElfVersionPatch.TryApply(patched));

        var before = new Elf(original);
        var after = new Elf(patched);
        var (symbol, nameOffset) = before.Symbol(NewSymbol);
        Assert.Equal((symbol, nameOffset), after.Symbol(OldSymbol));
        Assert.Equal(-1, after.Symbol(NewSymbol).Index);
        Assert.Equal(new byte[NewSymbol.Length - OldSymbol.Length], patched[(nameOffset + OldSymbol.Length)..(nameOffset + NewSymbol.Length)]);

        Assert.Equal(before.Version("GLIBCXX_3.4.32").Index, before.VersionIndexOf(symbol));
        Assert.Equal(before.Version("GLIBCXX_3.4").Index, after.VersionIndexOf(symbol));

        var record = before.Version("GLIBCXX_3.4.32").Offset;
        Assert.Equal(-1, after.Version("GLIBCXX_3.4.32").Offset);
        Assert.Equal(Hash("GLIBCXX_3.4.32"), Read32(original, record));
        Assert.Equal(Hash("GLIBCXX_3.4"), Read32(patched, record));
        Assert.Equal(Hash("GLIBCXX_3.4"), Read32(patched, after.Version("GLIBCXX_3.4").Offset));

        HashSet<int> allowed =
        [
            .. Enumerable.Range(nameOffset, NewSymbol.Length),
            .. Enumerable.Range(before.VersionEntry(symbol), 2),
            .. Enumerable.Range(record, 4),
            .. Enumerable.Range(record + 8, 4),
        ];
        Assert.Equal(original.Length, patched.Length);
        Assert.All(Enumerable.Range(0, original.Length).Where(i => original[i] != patched[i]), i => Assert.Contains(i, allowed));
    }

    [Fact]
    public void PatchOfAPatchedLibraryDoesNothing()
    {
        var library = NativeLibraryFile.Read();
        ElfVersionPatch.TryApply(library);
        var once = library.ToArray();
        Assert.False(ElfVersionPatch.TryApply(library));
        Assert.True(once.AsSpan().SequenceEqual(library));
    }

    [Fact]
    public void PatchOfATruncatedLibraryThrowsNothingButInvalidData()
    {
        var original = NativeLibraryFile.Read();

        // The section headers stand at the end, so no shorter file can be read.
        Gen.Int[0, original.Length - 1].Sample(
            length => Assert.Throws<InvalidDataException>(() => ElfVersionPatch.TryApply(original.AsSpan(0, length).ToArray())),
            iter: 100);
        Assert.All(
            [.. Enumerable.Range(0, 70), .. Enumerable.Range(1, 70).Select(cut => original.Length - (30 * cut))],
            length => Assert.Throws<InvalidDataException>(() => ElfVersionPatch.TryApply(original.AsSpan(0, length).ToArray())));
    }

    [Fact]
    public void PatchOfACorruptLibraryThrowsNothingButInvalidData()
    {
        var original = NativeLibraryFile.Read();
        var elf = new Elf(original);
        int[] places = [.. elf.TableBytes()];
        var refused = 0;
        var mutation = Gen.Select(Gen.Int[0, places.Length - 1], Gen.OneOf(Gen.Byte, Gen.Const((byte)0xff), Gen.Const((byte)0x80))).Array[1, 4];
        mutation.Sample(
            changes =>
            {
                var library = original.ToArray();
                foreach (var (place, value) in changes)
                {
                    library[places[place]] = value;
                }

                if (Record.Exception(() => { ElfVersionPatch.TryApply(library); }) is { } exception)
                {
                    Assert.IsType<InvalidDataException>(exception);
                    Interlocked.Increment(ref refused);
                }
            },
            iter: 300);
        Assert.NotEqual(0, refused);
    }

    [Theory]
    [InlineData("")]
    [InlineData("MZ, a library of another system, and quite some bytes more than the sixty-four of a header")]
    public void PatchRefusesWhatIsNoElfFile(string text) =>
        Assert.Contains("not a 64-bit little-endian ELF",
            Assert.Throws<InvalidDataException>(() => ElfVersionPatch.TryApply(Encoding.ASCII.GetBytes(text))).Message, StringComparison.Ordinal);

    private static uint Read32(byte[] bytes, int offset) => BinaryPrimitives.ReadUInt32LittleEndian(bytes.AsSpan(offset));

    /// <summary>The hash of the System V ABI.</summary>
    private static uint Hash(string name)
    {
        uint hash = 0;
        foreach (var c in name)
        {
            hash = (hash << 4) + c;
            var high = hash & 0xf0000000;
            hash = (hash ^ (high >> 24)) & ~high;
        }

        return hash;
    }

    /// <summary>A second reader of the same tables, which finds sections by name.</summary>
    private sealed class Elf
    {
        private readonly byte[] bytes;
        private readonly Dictionary<string, (int Offset, int Size)> sections = [];
        private readonly int headers;

        public Elf(byte[] bytes)
        {
            this.bytes = bytes;
            headers = (int)Read64(40);
            var count = Read16(60);
            var names = (int)Read64(headers + (Read16(62) * 64) + 24);
            for (var i = 0; i < count; i++)
            {
                var header = headers + (i * 64);
                sections.TryAdd(Text(names + (int)Read32(bytes, header)), ((int)Read64(header + 24), (int)Read64(header + 32)));
            }
        }

        public (int Index, int NameOffset) Symbol(string name)
        {
            var (offset, size) = sections[".dynsym"];
            for (var i = 0; i < size / 24; i++)
            {
                var text = sections[".dynstr"].Offset + (int)Read32(bytes, offset + (i * 24));
                if (Text(text) == name)
                {
                    return (i, text);
                }
            }

            return (-1, -1);
        }

        public int VersionEntry(int symbol) => sections[".gnu.version"].Offset + (symbol * 2);

        public int VersionIndexOf(int symbol) => Read16(VersionEntry(symbol));

        public (int Offset, int Index) Version(string name)
        {
            var need = sections[".gnu.version_r"].Offset;
            while (true)
            {
                var record = need + (int)Read32(bytes, need + 8);
                for (var i = 0; i < Read16(need + 2); i++)
                {
                    if (Text(sections[".dynstr"].Offset + (int)Read32(bytes, record + 8)) == name)
                    {
                        return (record, Read16(record + 6));
                    }

                    record += (int)Read32(bytes, record + 12);
                }

                if (Read32(bytes, need + 12) == 0)
                {
                    return (-1, -1);
                }

                need += (int)Read32(bytes, need + 12);
            }
        }

        /// <summary>The places of the file that say where something is.</summary>
        public IEnumerable<int> TableBytes()
        {
            var needs = sections[".gnu.version_r"];
            var symbols = sections[".dynsym"];
            return Enumerable.Range(6, 58)
                .Concat(Enumerable.Range(headers, Read16(60) * 64))
                .Concat(Enumerable.Range(needs.Offset, needs.Size))
                .Concat(Enumerable.Range(symbols.Offset, Math.Min(symbols.Size, 4096)));
        }

        private string Text(int offset) => Encoding.ASCII.GetString(bytes, offset, Array.IndexOf(bytes, (byte)0, offset) - offset);

        private ushort Read16(int offset) => BinaryPrimitives.ReadUInt16LittleEndian(bytes.AsSpan(offset));

        private ulong Read64(int offset) => BinaryPrimitives.ReadUInt64LittleEndian(bytes.AsSpan(offset));
    }
}
