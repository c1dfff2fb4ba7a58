using System.Buffers.Binary;
using System.Globalization;
using System.Text;

namespace Nibble.Formats.HuggingFace.Tokenizers;

/// <summary>The <c>precompiled_charsmap</c> of SentencePiece: replacements of characters in a double-array trie.</summary>
/// <remarks>
/// The layout is that of google/sentencepiece, <c>src/normalizer.cc</c>: the length of the trie in bytes, its units, then zero-terminated texts. What is
/// looked up follows huggingface/tokenizers, <c>normalizers/precompiled.rs</c>: a grapheme of less than 6 bytes is replaced as a whole by the text of its
/// shortest known beginning.
/// </remarks>
internal sealed class CharacterMap
{
    private const int LongestGrapheme = 5;

    private readonly uint[] units;
    private readonly byte[] texts;

    /// <param name="bytes">The map.</param>
    /// <exception cref="FormatException">The map is broken.</exception>
    public CharacterMap(ReadOnlySpan<byte> bytes)
    {
        var size = bytes.Length >= sizeof(uint) ? BinaryPrimitives.ReadUInt32LittleEndian(bytes) : 0;
        if (size == 0 || size % sizeof(uint) != 0 || size > bytes.Length - sizeof(uint))
        {
            throw new FormatException($"precompiled_charsmap has {bytes.Length:N0} bytes and says that {size:N0} of them are its trie");
        }

        units = new uint[size / sizeof(uint)];
        for (var i = 0; i < units.Length; i++)
        {
            units[i] = BinaryPrimitives.ReadUInt32LittleEndian(bytes[(sizeof(uint) * (i + 1))..]);
        }

        texts = bytes[(sizeof(uint) + (int)size)..].ToArray();
    }

    /// <summary>Replaces characters.</summary>
    public string Apply(string text)
    {
        var result = new StringBuilder(text.Length);
        for (var at = 0; at < text.Length;)
        {
            var grapheme = text.AsSpan(at, StringInfo.GetNextTextElementLength(text.AsSpan(at)));
            at += grapheme.Length;
            if (Encoding.UTF8.GetByteCount(grapheme) <= LongestGrapheme && Find(grapheme) is { } whole)
            {
                result.Append(whole);
                continue;
            }

            foreach (var rune in grapheme.EnumerateRunes())
            {
                var character = rune.ToString();
                result.Append(Find(character) ?? character);
            }
        }

        return result.ToString();
    }

    /// <summary>The replacement of the shortest known beginning of a text; null if none is known.</summary>
    private string? Find(ReadOnlySpan<char> text)
    {
        Span<byte> bytes = stackalloc byte[8];
        bytes = bytes[..Encoding.UTF8.GetBytes(text, bytes)];
        var node = Next(0, 0);
        foreach (var value in bytes)
        {
            node ^= value;
            if (value == 0 || node >= units.Length || (units[node] & 0x800000FF) != value)
            {
                return null;
            }

            var unit = units[node];
            var hasText = ((unit >> 8) & 1) == 1;
            node = Next(node, (int)node);
            if (hasText)
            {
                var start = node < units.Length ? (int)(units[node] & 0x7FFFFFFF) : texts.Length;
                var length = start < texts.Length ? texts.AsSpan(start).IndexOf((byte)0) : -1;
                return length >= 0 ? Encoding.UTF8.GetString(texts, start, length)
                    : throw new NibbleException(
                        $"the tokenizer's precompiled_charsmap names a text at byte {start:N0}, which it does not have; its file is broken");
            }
        }

        return null;

        // A unit's offset: 22 bits, of which one more says that it counts in steps of 256.
        uint Next(uint from, int index) => from ^ ((units[index] >> 10) << (int)((units[index] & (1u << 9)) >> 6));
    }
}
