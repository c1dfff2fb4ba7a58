namespace Nibble.Formats.HuggingFace.Tokenizers;

/// <summary>Converts text without added tokens to ids, and back.</summary>
internal abstract class TokenModel
{
    /// <summary>One more than the highest id of the vocabulary.</summary>
    public abstract int Size { get; }

    /// <summary>The id for text that the vocabulary cannot spell; null if there is none.</summary>
    public virtual int? UnknownId => null;

    /// <summary>The id of a token by its text in the vocabulary; null if there is no such token.</summary>
    public abstract int? IdOf(string text);

    /// <summary>The text in the vocabulary of an id below <see cref="Size"/>; null if there is no such token.</summary>
    public abstract string? TokenOf(int id);

    /// <summary>Normalizes text.</summary>
    /// <param name="text">Text between added tokens.</param>
    /// <param name="first">Whether no added token precedes it.</param>
    public virtual string Normalize(string text, bool first) => text;

    /// <summary>Normalizes an added token in the same way, for matching in normalized text.</summary>
    public virtual string NormalizeToken(string text) => text;

    /// <summary>An added token as it appears in text.</summary>
    public virtual string DecodeToken(string text) => text;

    /// <summary>Appends the ids of normalized text.</summary>
    /// <param name="text">Text between added tokens.</param>
    /// <param name="first">Whether no added token precedes it.</param>
    /// <param name="ids">The list to append to.</param>
    /// <exception cref="NibbleException">The vocabulary cannot spell the text and has no id for unknown text.</exception>
    public abstract void Encode(string text, bool first, List<int> ids);

    /// <summary>Converts the ids between added tokens to text.</summary>
    public abstract string Decode(IReadOnlyList<int> ids);
}
