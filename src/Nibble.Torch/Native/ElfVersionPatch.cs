using System.Buffers.Binary;
using System.Text;

namespace Nibble.Torch.Native;

/// <summary>Rewrites a 64-bit little-endian ELF library that needs one symbol newer than the system's libstdc++.</summary>
/// <remarks>
/// LibTorchSharp is built with GCC 13. Its &lt;iostream&gt; refers to <c>_ZSt21ios_base_library_initv</c> (GLIBCXX_3.4.32), where older versions refer to the
/// constructor of <c>std::ios_base::Init</c> (GLIBCXX_3.4). The library needs no other newer symbol, so it loads if this one reference points to the older
/// symbol. Layout: System V ABI, chapters 4 and 5. Version sections: Linux Standard Base, "Symbol Versioning".
/// </remarks>
internal static class ElfVersionPatch
{
    public const string NewSymbol = "_ZSt21ios_base_library_initv";
    private const string OldSymbol = "_ZNSt8ios_base4InitC1Ev";
    private const string NewVersion = "GLIBCXX_3.4.32";
    private const string OldVersion = "GLIBCXX_3.4";
    private const uint DynamicSymbols = 11;
    private const uint VersionNeeds = 0x6ffffffe;
    private const uint VersionIndices = 0x6fffffff;
    private const int SymbolSize = 24;

    /// <summary>
    /// Rewrites <paramref name="library"/> in place. Returns false and leaves the bytes unchanged if the library does not need it.
    /// </summary>
    /// <exception cref="InvalidDataException">The file is not an ELF library of the expected layout.</exception>
    public static bool TryApply(Span<byte> library)
    {
        if (library.Length < 64 || !library[..6].SequenceEqual<byte>([0x7f, (byte)'E', (byte)'L', (byte)'F', 2, 1]))
        {
            throw new InvalidDataException("not a 64-bit little-endian ELF file");
        }

        try
        {
            return Apply(library);
        }
        catch (Exception e) when (e is ArgumentOutOfRangeException or OverflowException or IndexOutOfRangeException)
        {
            throw new InvalidDataException("an ELF table points outside the file", e);
        }
    }

    private static bool Apply(Span<byte> library)
    {
        var end = checked((long)BinaryPrimitives.ReadUInt64LittleEndian(library[40..]) + (Read16(library, 60) * Read16(library, 58)));
        if (end > library.Length)
        {
            throw new InvalidDataException($"the section headers end at byte {end}, but the file has {library.Length} bytes: it is truncated");
        }

        var symbols = FindSection(library, DynamicSymbols);
        var strings = SectionAt(library, symbols.Link);
        var symbol = FindSymbol(library, symbols, strings, out var nameOffset);
        if (symbol < 0)
        {
            return false;
        }

        var needs = FindSection(library, VersionNeeds);
        if (!FindVersion(library, needs, strings, NewVersion, out var newer) || !FindVersion(library, needs, strings, OldVersion, out var older))
        {
            throw new InvalidDataException($"{NewSymbol} is needed, but not with the versions {NewVersion} and {OldVersion}");
        }

        var name = library.Slice(checked((int)strings.Offset) + nameOffset, NewSymbol.Length);
        name.Clear();
        Encoding.ASCII.GetBytes(OldSymbol, name);
        var index = FindSection(library, VersionIndices);
        Write16(library, index.Offset + (symbol * 2), Read16(library, older + 6));
        library.Slice(older, 4).CopyTo(library[newer..]);
        library.Slice(older + 8, 4).CopyTo(library[(newer + 8)..]);
        return true;
    }

    private static int FindSymbol(ReadOnlySpan<byte> library, Section symbols, Section strings, out int nameOffset)
    {
        var found = -1;
        nameOffset = 0;
        var count = symbols.Size / SymbolSize;
        for (var i = 0; i < count; i++)
        {
            var offset = checked((int)Read32(library, symbols.Offset + (i * SymbolSize)));
            if (TextAt(library, strings, offset) == NewSymbol)
            {
                found = i;
                nameOffset = offset;
            }
        }

        for (var i = 0; i < count && found >= 0; i++)
        {
            var offset = (int)Read32(library, symbols.Offset + (i * SymbolSize));
            if (offset > nameOffset && offset <= nameOffset + NewSymbol.Length && i != found && TextAt(library, strings, offset).Length > 0)
            {
                throw new InvalidDataException($"another symbol shares the name of {NewSymbol}");
            }
        }

        return found;
    }

    /// <summary>Finds the auxiliary record (Elf64_Vernaux) of a version: hash, flags, other, name, next.</summary>
    private static bool FindVersion(ReadOnlySpan<byte> library, Section needs, Section strings, string version, out int record)
    {
        var need = needs.Offset;
        for (var left = needs.Size; left > 0; left -= 16)
        {
            record = checked((int)(need + Read32(library, need + 8)));
            for (var i = Read16(library, need + 2); i > 0; i--)
            {
                if (TextAt(library, strings, checked((int)Read32(library, record + 8))) == version)
                {
                    return true;
                }

                record = checked(record + (int)Read32(library, record + 12));
            }

            var next = Read32(library, need + 12);
            if (next == 0)
            {
                break;
            }

            need += next;
        }

        record = -1;
        return false;
    }

    private static Section FindSection(ReadOnlySpan<byte> library, uint type)
    {
        var count = Read16(library, 60);
        for (uint i = 0; i < count; i++)
        {
            var section = SectionAt(library, i);
            if (section.Type == type)
            {
                return section;
            }
        }

        throw new InvalidDataException($"no section of type 0x{type:x}");
    }

    private static Section SectionAt(ReadOnlySpan<byte> library, uint index)
    {
        var header = checked((long)BinaryPrimitives.ReadUInt64LittleEndian(library[40..]) + (index * Read16(library, 58)));
        var bytes = library[checked((int)header)..];
        return new Section(
            Read32(bytes, 4),
            checked((long)BinaryPrimitives.ReadUInt64LittleEndian(bytes[24..])),
            checked((long)BinaryPrimitives.ReadUInt64LittleEndian(bytes[32..])),
            Read32(bytes, 40));
    }

    private static string TextAt(ReadOnlySpan<byte> library, Section strings, int offset)
    {
        var text = library[checked((int)(strings.Offset + offset))..checked((int)(strings.Offset + strings.Size))];
        return Encoding.ASCII.GetString(text[..text.IndexOf((byte)0)]);
    }

    private static ushort Read16(ReadOnlySpan<byte> bytes, long offset) => BinaryPrimitives.ReadUInt16LittleEndian(bytes[checked((int)offset)..]);

    private static uint Read32(ReadOnlySpan<byte> bytes, long offset) => BinaryPrimitives.ReadUInt32LittleEndian(bytes[checked((int)offset)..]);

    private static void Write16(Span<byte> bytes, long offset, ushort value) => BinaryPrimitives.WriteUInt16LittleEndian(bytes[checked((int)offset)..], value);

    private readonly record struct Section(uint Type, long Offset, long Size, uint Link);
}
