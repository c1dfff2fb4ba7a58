using System.Globalization;

namespace Nibble.Formats.HuggingFace.Tokenizers;

/// <summary>Tokens that stand for one byte, such as <c>&lt;0x0A&gt;</c>. Text that a vocabulary cannot spell falls back to them.</summary>
internal static class ByteToken
{
    /// <summary>The token of a byte.</summary>
    public static string Of(int value) => $"<0x{value:X2}>";

    /// <summary>Reads the byte that a token stands for.</summary>
    public static bool TryParse(string token, out byte value)
    {
        value = 0;
        return token is ['<', '0', 'x', _, _, '>']
            && byte.TryParse(token.AsSpan(3, 2), NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out value);
    }
}
